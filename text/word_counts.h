#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "io/limits.h"

namespace ratel {

/// How often the words of documents occur: all that training a byte-pair tokenizer must know of a text, since no piece
/// reaches over the beginning of a word. A word is what follows a space or a line's beginning, with further spaces
/// before it, up to the next space or the line's end. Memory is that of the different words, which is bounded.
class WordCounts {
 public:
  static constexpr size_t kMostWordBytes = 4096;  ///< longer ones are cut
  static constexpr size_t kBytesAWord = 72;       ///< of the hash table

  explicit WordCounts(size_t most_bytes = io::kTrainingWordBytes) : most_bytes_(most_bytes) {}

  /// What comes next of a document, cut anywhere. Throws Error(input) where the different words take more than the most
  /// there may be of them, about kBytesAWord for each beside its text.
  void add(std::string_view text);
  void end_document() { end_word(); }  ///< throws as add() does

  [[nodiscard]] int64_t bytes() const { return bytes_; }
  [[nodiscard]] int64_t different_words() const { return static_cast<int64_t>(counts_.size()); }
  /// The words, without the one space before each, sorted. What cannot be in a piece stands as NUL: bytes that are no
  /// UTF-8, tabs, and U+2581 and U+2585, which training uses for itself.
  [[nodiscard]] std::vector<std::pair<std::string, int64_t>> sorted() const;

 private:
  void end_word();

  size_t most_bytes_, held_bytes_ = 0;
  std::unordered_map<std::string, int64_t> counts_;
  std::string word_;          // as far as it was read
  bool has_letters_ = false;  // it has more than spaces
  int64_t bytes_ = 0;
};

}  // namespace ratel
