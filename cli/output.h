#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "io/json.h"

namespace ratel::cli {

/// Where stdin, stdout or stderr is closed, its number would be that of the next file that is opened, and get what is
/// said on it: /dev/null takes it, such that reading or writing fails as before. At the beginning of main().
void reserve_standard_streams();
/// Writes to stdout at once. Throws Error(disk) where that does not succeed.
void print(std::string_view text);
/// The text with U+FFFD for every byte that is no UTF-8.
std::string as_utf8(std::string_view bytes);
/// One JSON object on one line of stdout: what a command prints for --json, and nothing else.
void print_json(const io::Json& object);

/// A line on stderr: what a person should know that is not the result.
void note_line(std::string_view text);
template <class... Parts>
void note(const Parts&... parts) {
  note_line(concat_text(parts...));
}

/// 1234567 as "1,234,567".
std::string with_commas(int64_t value);
/// Bytes as "512 B", "1.5 KiB", "3.2 MiB", ...
std::string human_bytes(int64_t bytes);
/// Seconds as "42 s", "3 min 20 s", "2 h 5 min", "3 d 4 h".
std::string human_seconds(double seconds);
/// A double with `digits` after the point; from 1e15 on, of either sign, brief() in 6 digits.
std::string fixed(double value, int digits);
/// A double in `digits` significant digits, like printf's %g.
std::string brief(double value, int digits);

/// Throws Error(usage) for an empty path, and Error(disk) where `path` cannot become a file: a folder, a device, a
/// folder above it that is not there or takes no files.
void check_output_path(const std::string& path);

}  // namespace ratel::cli
