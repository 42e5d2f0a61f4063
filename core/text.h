#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace ratel {

/// Characters to insert, delete or replace to turn one text into the other (Levenshtein).
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to a name nobody knows, for "did you mean ..."; the first of several. Empty where none comes
/// near: where more than half of the longer text would have to change.
template <class Names>
std::string nearest(std::string_view name, const Names& candidates) {
  std::string best;
  size_t best_distance = 0;
  for (const auto& candidate : candidates) {
    const std::string_view text = candidate;
    const auto [shorter, longer] = std::minmax({name.size(), text.size()});
    if (longer - shorter > longer / 2) continue;
    const size_t distance = edit_distance(name, text);
    if (distance > longer / 2 || (!best.empty() && distance >= best_distance)) continue;
    best = text;
    best_distance = distance;
  }
  return best;
}

}  // namespace ratel
