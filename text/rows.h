#pragma once

#include <string>
#include <string_view>

namespace ratel {

/// The text of one row: that member of the JSON object which the line is. Throws Error(input) "where: ..." for a line
/// that is no such object, or whose member is missing or no string.
std::string text_of_row(std::string_view line, std::string_view field, std::string_view where);

}  // namespace ratel
