#include "core/rng.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace ratel {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0], product1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

namespace {

uint64_t join(uint32_t low, uint32_t high) { return static_cast<uint64_t>(high) << 32 | low; }
double to_unit(uint64_t word) { return static_cast<double>(word >> 11) * 0x1.0p-53; }

}  // namespace

std::array<uint32_t, 4> Rng::words_at(uint64_t index) const {
  return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(stream_),
                 static_cast<uint32_t>(stream_ >> 32)},
                {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)});
}

uint64_t Rng::bits_at(uint64_t index) const {
  const auto words = words_at(index);
  return join(words[0], words[1]);
}

double Rng::uniform_at(uint64_t index) const { return to_unit(bits_at(index)); }

double Rng::normal_at(uint64_t index) const {
  const auto words = words_at(index);
  const double radius = std::sqrt(-2.0 * std::log(1.0 - to_unit(join(words[0], words[1]))));
  return radius * std::cos(2.0 * std::numbers::pi * to_unit(join(words[2], words[3])));
}

uint64_t Rng::below(uint64_t bound) {
  check(bound >= 1, "Rng::below: bound must be at least 1");
  const uint64_t rejected = (0 - bound) % bound;  // 2^64 mod bound: the words that would favour small results
  uint64_t word = bits();
  while (word < rejected) word = bits();
  return word % bound;
}

}  // namespace ratel
