#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_set>

namespace ratel {

/// Where a text may be cut without changing how byte-pair encoding merges it: between two characters that stand side by
/// side in no piece, since every merge makes a piece. Spaces are spaces here, in pieces too.
class Boundaries {
 public:
  enum class Merging {
    of_pieces,  ///< add() tells what may merge
    of_all,     ///< anything may
  };
  explicit Boundaries(Merging merging) : merging_(merging) {}

  /// Takes a piece up, valid UTF-8 with spaces as spaces.
  void add(std::string_view piece);

  struct Segment {
    size_t size = 0;       ///< bytes; 0 at the end of the text only
    bool spelled = false;  ///< to be encoded byte for byte: what is no UTF-8, and U+2581, the space of pieces
  };
  /// The segment that begins at text[at], where a character must begin. No merge reaches across its ends.
  [[nodiscard]] Segment segment_at(std::string_view text, size_t at) const;

  /// A late place in (0, text.size()) where a text may be cut, whatever follows it; 0 where there is none. Neither the
  /// text's last character, which may be half there, nor what is no UTF-8 need be cut at every place it could be.
  [[nodiscard]] size_t last_in(std::string_view text) const;

 private:
  [[nodiscard]] bool may_join(char32_t left, char32_t right) const;

  Merging merging_;
  std::bitset<size_t{128} * 128> ascii_pairs_;
  std::unordered_set<uint64_t> pairs_;
};

}  // namespace ratel
