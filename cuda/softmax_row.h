#pragma once

#include <cmath>
#include <limits>
#include <numbers>

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

/// e^z; the machine's own where a row of bf16 shows no more of it.
template <class T>
__device__ accumulate_t<T> row_exponential(accumulate_t<T> z) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return fast_exp2(z * std::numbers::log2e_v<float>);
  else
    return std::exp(z);
}

/// The row is read once: of long rows, those under way on all multiprocessors are more than the caches hold. A thread
/// keeps the largest it has met and the sum to it, which is scaled when a larger one comes. Across vectors the sum is
/// kept in f64: its largest term is 1, and every small one added to it in f32 would round once more.
template <int N, class T, class A = accumulate_t<T>>
__device__ RowExponentials<A> row_exponentials(int64_t n, const T* x, SharedArena& arena) {
  constexpr A kLeast = -std::numeric_limits<A>::infinity();
  const Shared<A> maxima = arena.take<A>(kRowWarps);
  const Shared<double> sums = arena.take<double>(kRowWarps);
  A m = kLeast;
  double s = 0;
  for_row<N>(n, [&](int64_t i) {
    const auto values = load_vec<N>(x + i);
    A largest = m;
    for (int k = 0; k < N; ++k) largest = std::fmax(largest, convert_element<A>(values.at[k]));
    if (largest > m) {
      s *= static_cast<double>(row_exponential<T>(m - largest));
      m = largest;
    }
    const A base = m == kLeast ? 0 : m;  // -inf alone: terms of 0, which the difference would make NaN
    A few = 0;
    for (int k = 0; k < N; ++k) few += row_exponential<T>(convert_element<A>(values.at[k]) - base);
    s += static_cast<double>(few);
  });
  const A all = block_max(m, maxima);
  if (m != all) s *= static_cast<double>(row_exponential<T>(m - all));
  return {all, static_cast<A>(block_sum(s, sums))};
}

}  // namespace ratel::cuda
