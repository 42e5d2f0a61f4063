#pragma once

#include <span>
#include <string>
#include <string_view>

namespace ratel::tasks {

/// The share of the answers that occur in what was said, whatever the case of ASCII letters. 0 for no answers.
/// Source: string_match_all of RULER, arXiv 2404.06654.
double string_match_all(std::string_view prediction, std::span<const std::string> answers);

}  // namespace ratel::tasks
