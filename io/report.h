#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace ratel::io {

/// Throws Error(input): "path:place: parts...". The place is a byte offset, or a line where the format is read by
/// lines.
template <class... Parts>
[[noreturn]] void fail_at(std::string_view path, uint64_t place, const Parts&... parts) {
  fail_input(concat_text(path, ":", place), parts...);
}

/// What the system says of an errno: the text of std::strerror, which is not safe with threads.
std::string reason(int code);

/// Bytes of the valid UTF-8 sequence that starts at text[at], 0 where there is none.
size_t utf8_length(std::string_view text, size_t at);

/// Why nothing in a file may have this name, or nothing: it is empty, an absolute path, contains "..", a control
/// character or invalid UTF-8. Names become file names and lines of a terminal elsewhere.
std::optional<std::string_view> objection_to(std::string_view name);

/// The text fit for one line of an error: control characters and invalid UTF-8 as `\xNN`, no more than about `limit`
/// bytes, "..." where it was cut.
std::string one_line(std::string_view text, size_t limit = 120);

/// The same in double quotes. Not called quoted: std::quoted would be taken for a std::string.
std::string in_quotes(std::string_view text, size_t limit = 120);

}  // namespace ratel::io
