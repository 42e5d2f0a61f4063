#include "text/rows.h"

#include "core/error.h"
#include "io/json.h"
#include "io/report.h"

namespace ratel {

std::string text_of_row(std::string_view line, std::string_view field, std::string_view where) {
  const io::Json row = io::parse_json(line, where);
  return row.at(field, where).as_string(concat_text(where, ": ", io::one_line(field)));
}

}  // namespace ratel
