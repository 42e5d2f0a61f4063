#pragma once

#include <string>
#include <string_view>

#include "tasks/needles.h"

namespace ratel::cli {

/// The text of a --haystack, fit for JSON. Throws Error(input) "path:offset: ..." for what is no UTF-8 or has nothing
/// beside white space.
std::string read_haystack(const std::string& path);

/// core/text.h's suggestion among the tasks' names.
std::string suggested_task(std::string_view name);

/// Throws Error(usage) where the numbers cannot work, or the task takes no haystack and there is one.
void check_needles(const tasks::NeedleOptions& how, int64_t examples, bool has_haystack);

/// Says on stderr where needles are hidden in noise that RULER hides in a text.
void note_noise(const tasks::NeedleOptions& how);

}  // namespace ratel::cli
