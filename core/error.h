#pragma once

#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ratel {

/// What went wrong, as far as a caller must act differently on it. The values are the exit codes of the `ratel` binary.
enum class ErrorKind {
  usage = 2,      ///< a call or an option that cannot work: shapes, dtypes, unknown names
  input = 3,      ///< a file that is missing, truncated, corrupted or does not match
  memory = 4,     ///< an allocation that did not succeed
  disk = 5,       ///< a file that could not be written
  numerical = 6,  ///< a loss, gradient or logit that is not finite, where nothing can go on
};

/// The one exception of ratel. what() is one line naming the op or file, what was expected and what was found;
/// where a second line helps it starts with "hint: ".
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ErrorKind kind = ErrorKind::usage)
      : std::runtime_error(message), kind_(kind) {}
  [[nodiscard]] ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// All parts streamed one after the other into a string, by the rules of C in whatever locale the program is.
template <class... Parts>
std::string concat_text(const Parts&... parts) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  (out << ... << parts);
  return out.str();
}

/// Throws Error(usage) with the parts as its message.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(concat_text(parts...));
}

/// Throws Error(usage) with the parts as its message unless `condition` holds.
template <class... Parts>
void check(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]]
    fail(parts...);
}

/// Throws Error(input): "path: parts...".
template <class... Parts>
[[noreturn]] void fail_input(std::string_view path, const Parts&... parts) {
  throw Error(concat_text(path, ": ", parts...), ErrorKind::input);
}

/// Throws Error(disk): "path: parts...".
template <class... Parts>
[[noreturn]] void fail_disk(std::string_view path, const Parts&... parts) {
  throw Error(concat_text(path, ": ", parts...), ErrorKind::disk);
}

}  // namespace ratel
