#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace ratel::io {

/// One assignment of a TOML text: `value` is a bool, an integer, a double, a string, or an array of these.
struct TomlEntry {
  std::string key;  ///< the whole path: "train.lr" for lr under [train]
  Json value;
  size_t line = 0;  ///< from 1
};

/// The assignments in the order of the text. Inline tables count as sections; a section without keys leaves no entry.
/// Throws Error(input) "path:line: what" for syntax errors, keys twice, more than io/limits.h allows, dates, tables in
/// arrays, and keys other than letters, digits, - and _ (so that a dot in a path always parts two keys).
std::vector<TomlEntry> parse_toml(std::string_view text, std::string_view path);

/// Reads a file. Throws Error(input).
std::vector<TomlEntry> read_toml_file(const std::string& path);

}  // namespace ratel::io
