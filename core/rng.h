#pragma once

#include <array>
#include <cstdint>

namespace ratel {

/// Philox 4x32-10: four random words, a pure function of a 128-bit counter and a 64-bit key.
/// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

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
  [[nodiscard]] std::array<uint32_t, 4> words_at(uint64_t index) const;
  uint64_t seed_, stream_, next_;
};

}  // namespace ratel
