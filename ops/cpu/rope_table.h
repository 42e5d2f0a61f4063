#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <mutex>
#include <vector>

#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

namespace ratel::cpu {

/// Cosines and sines of position * base^(-2c/d) for positions [first, first + T) and c < d/2, computed in f64 and
/// rounded once.
template <class A>
class RopeTable {
 public:
  RopeTable(int64_t first, int64_t T, int64_t d, double base)
      : first_(first), end_(first + T), d_(d), base_(base), cos_(T * d / 2), sin_(T * d / 2) {
    const int64_t half = d / 2;
    std::vector<double> frequency;
    for (int64_t c = 0; c < half; ++c)
      frequency.push_back(std::pow(base, -static_cast<double>(2 * c) / static_cast<double>(d)));
    parallel_for(T, rows_per_piece(half, 2048), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        for (int64_t c = 0; c < half; ++c) {
          const double angle = static_cast<double>(first + t) * frequency[static_cast<size_t>(c)];
          cos_[t * half + c] = static_cast<A>(std::cos(angle));
          sin_[t * half + c] = static_cast<A>(std::sin(angle));
        }
    });
  }

  [[nodiscard]] bool serves(int64_t first, int64_t T, int64_t d, double base) const {
    return first_ <= first && first + T <= end_ && d_ == d && base_ == base;
  }

  /// y = x turned by the angles of a position; y may be x. `turn` is 1, or -1 to turn back.
  void rotate(int64_t position, const A* x, A* y, A turn) const {
    const int64_t half = d_ / 2, row = (position - first_) * half;
    const A *cos = cos_.get() + row, *sin = sin_.get() + row;
#pragma GCC ivdep
    for (int64_t c = 0; c < half; ++c) {
      const A left = x[c], right = x[c + half], s = turn * sin[c];
      y[c] = left * cos[c] - right * s;
      y[c + half] = right * cos[c] + left * s;
    }
  }

 private:
  int64_t first_, end_, d_;
  double base_;
  Scratch<A> cos_, sin_;
};

/// A table that serves these positions. The last one made is kept: every layer and step of a run asks for the same. It
/// spans two powers of two of positions, so that a text that grows token by token rarely needs another.
template <class A>
std::shared_ptr<const RopeTable<A>> rope_table(int64_t first, int64_t T, int64_t d, double base) {
  static std::mutex mutex;
  static std::shared_ptr<const RopeTable<A>> last;
  {
    const std::lock_guard lock(mutex);
    if (last != nullptr && last->serves(first, T, d, base)) return last;
  }
  // Without the lock: a thread that waits for the pieces of this loop may take up work that asks for a table itself.
  const auto span = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(T, 256))));
  auto made = std::make_shared<const RopeTable<A>>(first - (first % span + span) % span, 2 * span, d, base);
  const std::lock_guard lock(mutex);
  last = made;
  return made;
}

}  // namespace ratel::cpu
