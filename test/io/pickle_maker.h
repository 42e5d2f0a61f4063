#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace ratel::test {

/// Puts a pickle together, opcode by opcode. What it makes need not be one that Python would write.
class PickleMaker {
 public:
  explicit PickleMaker(int protocol = 2) : protocol_(protocol) {}

  PickleMaker& op(char opcode) { return raw(std::string_view(&opcode, 1)); }
  PickleMaker& raw(std::string_view bytes) {
    body_.append(bytes);
    return *this;
  }
  /// BINUNICODE.
  PickleMaker& text(std::string_view text) {
    op('X').number(static_cast<uint32_t>(text.size()));
    return raw(text);
  }
  /// LONG1 of 8 bytes.
  PickleMaker& integer(int64_t value) { return op('\x8a').op('\x08').number(value); }
  PickleMaker& integers(const std::vector<int64_t>& values) {
    op('(');
    for (const int64_t value : values) integer(value);
    return op('t');
  }
  PickleMaker& global(std::string_view module, std::string_view name) {
    return op('c').raw(module).op('\n').raw(name).op('\n');
  }
  /// Its bytes, little-endian.
  template <class T>
  PickleMaker& number(T value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    return raw({bytes, sizeof value});
  }

  [[nodiscard]] const std::string& body() const { return body_; }
  /// With PROTO before and STOP behind.
  [[nodiscard]] std::string done() const { return std::string("\x80") + static_cast<char>(protocol_) + body_ + "."; }

 private:
  int protocol_;
  std::string body_;
};

}  // namespace ratel::test
