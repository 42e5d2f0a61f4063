#include "core/rng.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace ratel {

uint64_t Rng::bits_at(uint64_t index) const {
  const auto words = words_at(index);
  return join_words(words[0], words[1]);
}

double Rng::uniform_at(uint64_t index) const { return unit_of(bits_at(index)); }

double Rng::normal_at(uint64_t index) const {
  const auto words = words_at(index);
  const double radius = std::sqrt(-2.0 * std::log(1.0 - unit_of(join_words(words[0], words[1]))));
  return radius * std::cos(2.0 * std::numbers::pi * unit_of(join_words(words[2], words[3])));
}

uint64_t Rng::below(uint64_t bound) {
  check(bound >= 1, "Rng::below: bound must be at least 1");
  const uint64_t rejected = (0 - bound) % bound;  // 2^64 mod bound: the words that would favour small results
  uint64_t word = bits();
  while (word < rejected) word = bits();
  return word % bound;
}

}  // namespace ratel
