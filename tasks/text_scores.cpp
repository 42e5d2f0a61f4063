#include "tasks/text_scores.h"

#include <algorithm>

namespace ratel::tasks {
namespace {

/// Whatever the locale.
std::string lower(std::string_view text) {
  std::string result(text);
  for (char& letter : result)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  return result;
}

}  // namespace

double string_match_all(std::string_view prediction, std::span<const std::string> answers) {
  if (answers.empty()) return 0;
  const std::string said = lower(prediction);
  const auto found = std::ranges::count_if(
      answers, [&](const std::string& answer) { return said.find(lower(answer)) != std::string::npos; });
  return static_cast<double>(found) / static_cast<double>(answers.size());
}

}  // namespace ratel::tasks
