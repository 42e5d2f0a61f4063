#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace ratel {

/// Byte-level tokens: ids 0 to 255 are the bytes themselves, whatever their encoding; one more ends a text.
struct ByteTokenizer {
  static constexpr int64_t kEos = 256;
  static constexpr int64_t kVocabSize = 257;

  /// One id a byte; kEos is not added.
  [[nodiscard]] static std::vector<int64_t> encode(std::string_view text) {
    std::vector<int64_t> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }

  /// The bytes of the ids; kEos has none. The result need not be valid UTF-8, since a character may be cut in two.
  /// Throws Error for an id outside [0, kVocabSize).
  [[nodiscard]] static std::string decode(std::span<const int64_t> ids) {
    std::string text;
    for (const int64_t id : ids) {
      check(id >= 0 && id < kVocabSize, "byte tokenizer: expected an id between 0 and ", kVocabSize - 1, ", found ",
            id);
      if (id != kEos) text += static_cast<char>(static_cast<unsigned char>(id));
    }
    return text;
  }
};

}  // namespace ratel
