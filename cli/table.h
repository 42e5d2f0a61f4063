#pragma once

#include <string>
#include <vector>

namespace ratel::cli {

/// Rows of cells as text for people: the first row is the head. Columns are as wide as their widest cell; the first
/// `left` of them are aligned at the left, the others at the right.
std::string table_text(const std::vector<std::vector<std::string>>& rows, size_t left = 1);

}  // namespace ratel::cli
