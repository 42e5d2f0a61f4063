#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace ratel::io {

/// One assignment of a TOML text: `value` is a bool, an integer, a double, a string, or an array of these; null at the
/// head of a table in an array.
struct TomlEntry {
  std::string key;  ///< the whole path: "train.lr" for lr under [train], "layer[1].lr" under the second [[layer]]
  Json value;
  size_t line = 0;  ///< from 1
};

/// The assignments in the order of the text. Inline tables count as sections; a section without keys leaves no entry.
/// Of an array of tables each leaves an entry of its own, "layer[1]", before those of its keys, also where it has none.
/// Throws Error(input) "path:line: what" for syntax errors, keys twice, more than io/limits.h allows, dates, tables and
/// values in one array, and keys other than letters, digits, - and _ (so that a path can be taken apart).
std::vector<TomlEntry> parse_toml(std::string_view text, std::string_view path);

/// Reads a file. Throws Error(input).
std::vector<TomlEntry> read_toml_file(const std::string& path);

}  // namespace ratel::io
