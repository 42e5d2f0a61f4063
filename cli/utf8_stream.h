#pragma once

#include <string>
#include <string_view>

namespace ratel::cli {

/// Bytes that come one by one, handed on as whole UTF-8 characters; what is no UTF-8 becomes U+FFFD.
class Utf8Stream {
 public:
  /// Takes bytes, and returns the characters that are complete.
  std::string push(std::string_view bytes);
  /// What is left at the end: U+FFFD for a character that was cut short.
  std::string finish();

 private:
  std::string pending_;
};

}  // namespace ratel::cli
