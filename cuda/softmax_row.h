#pragma once

#include <cmath>
#include <limits>

#include "cuda/device.h"

namespace ratel::cuda {

/// What softmax and cross_entropy have in common: a block a row, each thread every blockful-th 16 bytes of it.

inline constexpr int kRowThreads = 256;
inline constexpr int kRowWarps = kRowThreads / kWarp;

/// Threads of a block whose rows have N elements, read `vector` at a time.
inline int row_threads(int64_t N, int vector) {
  const int64_t whole_warps = (N / vector + kWarp - 1) / kWarp * kWarp;
  return static_cast<int>(whole_warps < kWarp ? kWarp : whole_warps > kRowThreads ? kRowThreads : whole_warps);
}

/// Calls f(i) for the vectors of N elements that begin at this thread's places i of a row of n.
template <int N, class F>
__device__ void for_row(int64_t n, F&& f) {
  for (int64_t i = static_cast<int64_t>(thread_index().x) * N; i < n; i += static_cast<int64_t>(block_size().x) * N)
    f(i);
}

/// The largest over a block; `scratch` holds warp_count() elements. NaNs count as -inf: they come back in the sum.
template <class A>
__device__ A block_max(A value, Shared<A> scratch) {
  value = warp_max(value);
  if (lane_index() == 0) scratch[warp_index()] = value;
  sync_block();
  A largest = scratch[0];
  for (int warp = 1; warp < warp_count(); ++warp) {
    const A other = scratch[warp];
    if (other > largest) largest = other;
  }
  return largest;
}

/// m = max x and s = sum e^(x - m) of a row, the same bits in every thread.
template <class A>
struct RowExponentials {
  A m, s;
};

template <class A>
constexpr size_t row_scratch_bytes() {
  return shared_size<A>(kRowWarps) + shared_size<double>(kRowWarps);
}

/// The second reading finds the row in the caches. Across vectors the sum is kept in f64: its largest term is 1, and
/// every small one added to it in f32 would round once more.
template <int N, class T, class A = accumulate_t<T>>
__device__ RowExponentials<A> row_exponentials(int64_t n, const T* x, SharedArena& arena) {
  const Shared<A> maxima = arena.take<A>(kRowWarps);
  const Shared<double> sums = arena.take<double>(kRowWarps);
  A m = -std::numeric_limits<A>::infinity();
  for_row<N>(n, [&](int64_t i) {
    const auto values = load_vec<N>(x + i);
    for (int k = 0; k < N; ++k) {
      const A value = convert_element<A>(values.at[k]);
      if (value > m) m = value;
    }
  });
  m = block_max(m, maxima);
  double s = 0;
  for_row<N>(n, [&](int64_t i) {
    const auto values = load_vec<N>(x + i);
    A few = 0;
    for (int k = 0; k < N; ++k) few += std::exp(convert_element<A>(values.at[k]) - m);
    s += static_cast<double>(few);
  });
  return {m, static_cast<A>(block_sum(s, sums))};
}

}  // namespace ratel::cuda
