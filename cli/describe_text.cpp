#include <algorithm>
#include <vector>

#include "cli/describe.h"
#include "cli/output.h"

namespace ratel::cli {
namespace {

using io::Json;

std::string scalar_text(const std::string& key, const Json& value) {
  if (value.is_string()) return value.as_string();
  if (value.is_int() && key.ends_with("bytes"))
    return concat_text(with_commas(value.as_int()), " (", human_bytes(value.as_int()), ")");
  if (value.is_int()) return with_commas(value.as_int());
  return value.dump();
}

bool is_table(const Json& value) {
  return value.is_array() && !value.as_array().empty() && value.as_array().front().is_object();
}

std::string table_text(const Json& rows, const std::string& indent) {
  std::vector<std::vector<std::string>> cells;
  std::vector<size_t> widths;
  for (const Json& row : rows.as_array()) {
    std::vector<std::string> line;
    for (const auto& [key, value] : row.as_object()) {
      line.push_back(scalar_text(key, value));
      if (widths.size() < line.size()) widths.push_back(0);
      widths[line.size() - 1] = std::max(widths[line.size() - 1], line.back().size());
    }
    cells.push_back(std::move(line));
  }
  std::string text;
  for (const auto& line : cells) {
    text += indent;
    for (size_t column = 0; column < line.size(); ++column) {
      const bool is_last = column + 1 == line.size();
      text += line[column] + (is_last ? "" : std::string(widths[column] - line[column].size() + 2, ' '));
    }
    text += "\n";
  }
  return text;
}

void append_members(std::string& text, const Json& object, const std::string& indent) {
  size_t width = 0;
  for (const auto& [key, value] : object.as_object()) width = std::max(width, key.size());
  for (const auto& [key, value] : object.as_object()) {
    if (value.is_object()) {
      text += indent + key + "\n";
      append_members(text, value, indent + "  ");
    } else if (is_table(value)) {
      text += concat_text(indent, key, " (", value.as_array().size(), ")\n", table_text(value, indent + "  "));
    } else {
      text += indent + key + std::string(width - key.size() + 2, ' ') + scalar_text(key, value) + "\n";
    }
  }
}

}  // namespace

std::string as_text(const Json& object) {
  std::string text;
  append_members(text, object, "");
  return text;
}

}  // namespace ratel::cli
