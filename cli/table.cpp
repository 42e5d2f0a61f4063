#include "cli/table.h"

#include <algorithm>

namespace ratel::cli {

std::string table_text(const std::vector<std::vector<std::string>>& rows, size_t left) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t column = 0; column < row.size(); ++column)
      widths[column] = std::max(widths[column], row[column].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t column = 0; column < row.size(); ++column) {
      const std::string blanks(widths[column] - row[column].size(), ' ');
      const bool is_last = column + 1 == row.size();
      text += column < left ? row[column] + (is_last ? "" : blanks) : blanks + row[column];
      text += is_last ? "\n" : "  ";
    }
  }
  return text;
}

}  // namespace ratel::cli
