#pragma once

#include <cmath>
#include <memory>
#include <mutex>
#include <vector>

#include "ops/cpu/parallel.h"

namespace ratel::cpu {

/// Cosines and sines of position * base^(-2c/d) for positions [0, T) and c < d/2, computed in f64 and rounded once.
template <class A>
class RopeTable {
 public:
  RopeTable(int64_t T, int64_t d, double base) : half_(d / 2), cos_(static_cast<size_t>(T * half_)), sin_(cos_.size()) {
    parallel_for(T, rows_per_piece(half_, 2048), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        for (int64_t c = 0; c < half_; ++c) {
          const double angle =
              static_cast<double>(t) * std::pow(base, -static_cast<double>(2 * c) / static_cast<double>(d));
          cos_[static_cast<size_t>(t * half_ + c)] = static_cast<A>(std::cos(angle));
          sin_[static_cast<size_t>(t * half_ + c)] = static_cast<A>(std::sin(angle));
        }
    });
  }

  /// y = x turned by the angles of position t; y may be x. `turn` is 1, or -1 to turn back.
  void rotate(int64_t t, const A* x, A* y, A turn) const {
    const A *cos = cos_.data() + t * half_, *sin = sin_.data() + t * half_;
#pragma GCC ivdep
    for (int64_t c = 0; c < half_; ++c) {
      const A left = x[c], right = x[c + half_], s = turn * sin[c];
      y[c] = left * cos[c] - right * s;
      y[c + half_] = right * cos[c] + left * s;
    }
  }

 private:
  int64_t half_;
  std::vector<A> cos_, sin_;
};

/// The table for at least T positions. The last one made is kept: every layer and step of a run asks for the same.
template <class A>
std::shared_ptr<const RopeTable<A>> rope_table(int64_t T, int64_t d, double base) {
  static std::mutex mutex;
  static std::shared_ptr<const RopeTable<A>> last;
  static int64_t last_T = 0, last_d = 0;
  static double last_base = 0;
  const std::lock_guard lock(mutex);
  if (last == nullptr || last_T < T || last_d != d || last_base != base) {
    last = std::make_shared<const RopeTable<A>>(T, d, base);
    last_T = T;
    last_d = d;
    last_base = base;
  }
  return last;
}

}  // namespace ratel::cpu
