#pragma once

#include "cli/commands.h"

namespace ratel::cli {

/// `ratel tokenize --train`: a SentencePiece model of some texts.
int run_tokenize_train(Arguments args);

}  // namespace ratel::cli
