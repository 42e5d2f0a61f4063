#pragma once

#include <array>
#include <cstdint>

namespace ratel {

/// Philox 4x32-10: four random words, a pure function of a 128-bit counter and a 64-bit key.
/// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
/// Constexpr, so that device code runs the very same function.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
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

/// The words of number `index` in the sequence (seed, stream), and what a number makes of them.
constexpr std::array<uint32_t, 4> random_words(uint64_t seed, uint64_t stream, uint64_t index) {
  return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(stream),
                 static_cast<uint32_t>(stream >> 32)},
                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}
constexpr uint64_t join_words(uint32_t low, uint32_t high) { return static_cast<uint64_t>(high) << 32 | low; }
/// Uniform in [0, 1) with 53 bits.
constexpr double unit_of(uint64_t word) { return static_cast<double>(word >> 11) * 0x1.0p-53; }

/// Counter-based randomness: every number is a function of (seed, stream, index), so that results depend neither on
/// the number of threads nor on the order of evaluation. The only state is the next index.
class Rng {
 public:
  explicit Rng(uint64_t seed, uint64_t stream = 0, uint64_t next = 0) : seed_(seed), stream_(stream), next_(next) {}

  [[nodiscard]] uint64_t seed() const { return seed_; }
  [[nodiscard]] uint64_t stream() const { return stream_; }
  /// Index of the next number: storing it and passing it to the constructor resumes the sequence.
  [[nodiscard]] uint64_t next() const { return next_; }

  /// Number `index` of the sequence: 64 random bits; uniform in [0, 1) with 53 bits; standard normal (Box-Muller).
  [[nodiscard]] uint64_t bits_at(uint64_t index) const;
  [[nodiscard]] double uniform_at(uint64_t index) const;
  [[nodiscard]] double normal_at(uint64_t index) const;

  uint64_t bits() { return bits_at(next_++); }
  double uniform() { return uniform_at(next_++); }
  double normal() { return normal_at(next_++); }
  /// Uniform integer in [0, bound), without bias for any bound >= 1. Throws Error for bound 0.
  uint64_t below(uint64_t bound);
  /// Sets aside `count` numbers and returns the index of the first, for a kernel that fills a tensor in parallel.
  uint64_t reserve(uint64_t count) { return (next_ += count) - count; }

 private:
  [[nodiscard]] std::array<uint32_t, 4> words_at(uint64_t index) const { return random_words(seed_, stream_, index); }
  uint64_t seed_, stream_, next_;
};

}  // namespace ratel
