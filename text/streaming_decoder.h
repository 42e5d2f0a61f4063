#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "text/tokenizer.h"

namespace ratel {

/// The text of ids that come one by one, in whole characters: what push() and finish() return is, one after the other,
/// what Tokenizer::decode() makes of all ids, and no character of it is parted. Bytes that turn out to be no UTF-8 come
/// as they are.
class StreamingDecoder {
 public:
  /// `before`: ids the text begins with, which are known already. Their text is not returned.
  explicit StreamingDecoder(Tokenizer tokenizer, std::span<const int64_t> before = {});

  /// Takes an id, and returns what is complete now. Throws Error for an id outside [0, vocab_size).
  std::string push(int64_t id);
  /// What is left at the end: the beginning of a character that was cut short.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool at_beginning_ = true;  // nothing stands in the text yet, so that a space would be the one put before it
  std::string pending_;       // the beginning of a character
};

}  // namespace ratel
