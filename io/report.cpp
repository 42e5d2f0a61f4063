#include "io/report.h"

#include <system_error>

namespace ratel::io {

std::string reason(int code) { return std::generic_category().message(code); }

size_t utf8_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> uint32_t { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const auto continues = [&](size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
  if (at >= text.size()) return 0;
  const uint32_t first = byte(at), second = byte(at + 1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(at + 1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (first == 0xe0 && second < 0xa0) return 0;  // a longer spelling of a shorter code
    if (first == 0xed && second > 0x9f) return 0;  // a surrogate
    return continues(at + 1) && continues(at + 2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (first == 0xf0 && second < 0x90) return 0;
    if (first == 0xf4 && second > 0x8f) return 0;  // beyond U+10FFFF
    return continues(at + 1) && continues(at + 2) && continues(at + 3) ? 4 : 0;
  }
  return 0;
}

std::optional<std::string_view> objection_to(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.starts_with('/') || name.starts_with('\\')) return "is an absolute path";
  if (name.find("..") != std::string_view::npos) return "contains \"..\"";
  for (size_t at = 0; at < name.size();) {
    const auto byte = static_cast<unsigned char>(name[at]);
    const size_t length = utf8_length(name, at);
    if (length == 0) return "is not valid UTF-8";
    if (byte < 0x20 || byte == 0x7f) return "contains a control character";
    at += length;
  }
  return std::nullopt;
}

std::string one_line(std::string_view text, size_t limit) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string line;
  for (size_t at = 0; at < text.size();) {
    if (line.size() >= limit) return line + "...";
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t length = byte < 0x20 || byte == 0x7f ? 0 : utf8_length(text, at);
    if (length == 0) {
      line += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15u]};
      ++at;
    } else {
      line += text.substr(at, length);
      at += length;
    }
  }
  return line;
}

std::string in_quotes(std::string_view text, size_t limit) { return '"' + one_line(text, limit) + '"'; }

}  // namespace ratel::io
