#include "text/boundaries.h"

#include "io/report.h"

namespace ratel {
namespace {

constexpr char32_t kInvalid = 0xffffffff;  // a byte that is no UTF-8
constexpr char32_t kSpaceOfPieces = 0x2581;
constexpr size_t kLongest = 4;  // bytes of a character

struct Character {
  char32_t code = kInvalid;
  size_t size = 1;
  [[nodiscard]] bool spelled() const { return code == kInvalid || code == kSpaceOfPieces; }
};

Character character_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> char32_t { return static_cast<unsigned char>(text[at + i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  switch (io::utf8_length(text, at)) {
    case 2: return {(byte(0) & 0x1fu) << 6u | (byte(1) & 0x3fu), 2};
    case 3: return {(byte(0) & 0x0fu) << 12u | (byte(1) & 0x3fu) << 6u | (byte(2) & 0x3fu), 3};
    case 4:
      return {(byte(0) & 0x07u) << 18u | (byte(1) & 0x3fu) << 12u | (byte(2) & 0x3fu) << 6u | (byte(3) & 0x3fu), 4};
    default: return {};
  }
}

bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xc0u) == 0x80u; }

uint64_t pair_of(char32_t left, char32_t right) { return uint64_t{left} << 32u | right; }

}  // namespace

void Boundaries::add(std::string_view piece) {
  char32_t left = kInvalid;
  for (size_t at = 0; at < piece.size();) {
    const Character right = character_at(piece, at);
    at += right.size;
    if (left < 128 && right.code < 128)
      ascii_pairs_.set(left * 128 + right.code);
    else if (left != kInvalid)
      pairs_.insert(pair_of(left, right.code));
    left = right.code;
  }
}

bool Boundaries::may_join(char32_t left, char32_t right) const {
  if (merging_ == Merging::of_all) return true;
  if (left < 128 && right < 128) return ascii_pairs_[left * 128 + right];
  return pairs_.contains(pair_of(left, right));
}

Boundaries::Segment Boundaries::segment_at(std::string_view text, size_t at) const {
  if (at >= text.size()) return {};
  Character last = character_at(text, at);
  size_t end = at + last.size;
  const bool spelled = last.spelled();
  while (end < text.size()) {
    const Character next = character_at(text, end);
    if (next.spelled() != spelled || (!spelled && !may_join(last.code, next.code))) break;
    last = next;
    end += next.size;
  }
  return {end - at, spelled};
}

size_t Boundaries::last_in(std::string_view text) const {
  for (size_t at = text.empty() ? 0 : text.size() - 1; at > 0; --at) {
    // The character before: from the nearest byte that can begin one.
    size_t back = 1;
    while (back < kLongest && back < at && continues(text[at - back])) ++back;
    const bool follows_whole = io::utf8_length(text, at - back) == back;
    // What continues a character, or may, is no place for a cut.
    if (continues(text[at]) && back < kLongest && !follows_whole) continue;
    const Character right = character_at(text, at);
    if (right.code == kInvalid && text.size() - at < kLongest) continue;
    const Character left = follows_whole ? character_at(text, at - back) : Character{};
    if (left.spelled() || right.spelled() || !may_join(left.code, right.code)) return at;
  }
  return 0;
}

}  // namespace ratel
