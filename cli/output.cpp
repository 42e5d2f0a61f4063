#include "cli/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "core/error.h"
#include "io/report.h"

namespace ratel::cli {

void reserve_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF) {
      // The lowest free number, which is this one.
      [[maybe_unused]] const int taken = ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

void print(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = write(STDOUT_FILENO, text.data(), text.size());
    if (count >= 0)
      text.remove_prefix(static_cast<size_t>(count));
    else if (errno != EINTR)
      fail_disk("stdout", "could not be written: ", io::reason(errno));
  }
}

std::string as_utf8(std::string_view bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = io::utf8_length(bytes, at);
    text += length > 0 ? bytes.substr(at, length) : "\xef\xbf\xbd";
    at += std::max<size_t>(length, 1);
  }
  return text;
}

void print_json(const io::Json& object) { print(object.dump() + "\n"); }

void note_line(std::string_view text) {
  const std::string line = std::string(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);  // stderr is unbuffered: one write(2)
}

std::string with_commas(int64_t value) {
  std::string text = std::to_string(value);
  const size_t first = text.starts_with('-') ? 1 : 0;
  for (size_t at = text.size(); at > first + 3;) text.insert(at -= 3, 1, ',');
  return text;
}

std::string human_bytes(int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? std::to_string(bytes) + " B" : fixed(value, value < 100 ? 1 : 0) + " " + kUnits[unit];
}

std::string human_seconds(double seconds) {
  if (!std::isfinite(seconds) || seconds > 1e9) return "?";
  const auto whole = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (whole < 60) return concat_text(whole, " s");
  if (whole < 3600) return concat_text(whole / 60, " min ", whole % 60, " s");
  if (whole < 86400) return concat_text(whole / 3600, " h ", whole % 3600 / 60, " min");
  return concat_text(whole / 86400, " d ", whole % 86400 / 3600, " h");
}

std::string fixed(double value, int digits) {
  if (std::abs(value) >= 1e15) return brief(value, 6);  // digits of a double end there
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string brief(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*g", digits, value);
  return text.data();
}

void check_output_path(const std::string& path) {
  namespace fs = std::filesystem;
  check(!path.empty(), "expected the name of a file to write, found an empty one");
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status)) fail_disk(path, "is a folder, expected the name of a file");
  if (fs::exists(status) && !fs::is_regular_file(status)) fail_disk(path, "exists and is no regular file");
  const fs::path parent = fs::path(path).parent_path();
  if (!parent.empty() && !fs::is_directory(parent, error))
    fail_disk(path, "cannot be written, ", parent.string(), " is no folder");
  if (access(parent.empty() ? "." : parent.c_str(), W_OK) != 0)
    fail_disk(path, "cannot be written: ", io::reason(errno));
}

}  // namespace ratel::cli
