#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace ratel {

/// Characters to insert, delete or replace to turn one text into the other (Levenshtein).
size_t edit_distance(std::string_view a, std::string_view b);

/// What editors put before UTF-8; a text file means the same without it.
inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
inline std::string_view without_byte_order_mark(std::string_view text) {
  return text.substr(text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0);
}

/// The spaces of ASCII, whatever the locale.
inline constexpr std::string_view kSpaces = " \t\n\v\f\r";
constexpr bool is_space(char c) { return kSpaces.find(c) != std::string_view::npos; }

/// The parts of a text between separators: one more than there are separators.
std::vector<std::string_view> split(std::string_view text, char separator);

/// "1 document", "2 documents".
inline std::string counted(int64_t count, std::string_view thing) {
  return std::to_string(count).append(1, ' ').append(thing).append(count == 1 ? "" : "s");
}

/// The number that the whole of a text is; nothing where it is none, or does not fit.
template <class T>
std::optional<T> to_number(std::string_view text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return number;
}

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

/// The end of an error about such a name: "; the nearest is "..."", or nothing.
template <class Names>
std::string suggestion(std::string_view name, const Names& candidates) {
  const std::string near = nearest(name, candidates);
  return near.empty() ? "" : "; the nearest is \"" + near + '"';
}

}  // namespace ratel
