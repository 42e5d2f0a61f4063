#pragma once

#include "cli/commands.h"

namespace ratel::cli {

/// `ratel inspect --gates`: what the gates of a model's recurrence do.
int run_inspect_gates(Arguments args);

}  // namespace ratel::cli
