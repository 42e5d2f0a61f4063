#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/rng.h"
#include "text/tokenizer.h"

namespace ratel::test {

/// test/golden/tokenizers/NAME; make.py there says how each was made.
inline std::string golden_tokenizer(const std::string& name) {
  return std::string(RATEL_SOURCE_DIR "/test/golden/tokenizers/") + name;
}

/// Random numbers below a bound, one after the other.
class Chance {
 public:
  explicit Chance(uint64_t seed) : seed_(seed) {}
  size_t below(size_t bound) {
    const auto n = static_cast<uint32_t>(next_++);
    return philox({n, 0, 0, 0}, {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)})[0] % bound;
  }

 private:
  uint64_t seed_, next_ = 0;
};

/// Parts that are hard on a tokenizer: words, spaces, controls, characters of one to four bytes, what is no UTF-8, the
/// space of pieces, texts that look like control tokens. The empty one stands for a byte of zero.
inline std::string random_text(Chance& chance, size_t parts) {
  static const std::vector<std::string> hard = {
      "the", " the",         " ",    "  ",   "\n",   "\r\n",     "\t",   "Emma",        " Woodhouse", ",",
      ".",   "\"",           "1815", "0",    "",     "\x1b",     "é",    "ï",           "你",         "好",
      "😀",   "\xe2\x96\x81", "\xff", "\xc3", "\x80", "\xf0\x9f", "\xe2", "<s>",         "</s>",       "<sep>",
      "-",   "--",           "_",    "a",    "b",    "tion",     "ing",  "\xed\xa0\x80"};
  std::string text;
  for (size_t i = 0; i < parts; ++i) {
    const std::string& part = hard[chance.below(hard.size())];
    text += part.empty() ? std::string(1, '\0') : part;
  }
  return text;
}

}  // namespace ratel::test
