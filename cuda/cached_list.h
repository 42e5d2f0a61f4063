#pragma once

// The list of slots that a decoding query sees, and softmaxes over parts of it.

#include <cmath>
#include <cstdint>

#include "cuda/device.h"
#include "ops/cache_slots.h"

namespace ratel::cuda {

template <class T>
__device__ accumulate_t<T> exp2_of(accumulate_t<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return fast_exp2(x);
  else
    return std::exp2(x);
}

/// Softmaxes over some keys each, in scores that are powers of two: the largest, the sum, and the sums of values.
/// Rows is Shared<A> or a pointer.
template <class T, class Rows>
struct Softmaxes {
  using A = accumulate_t<T>;
  Rows statistics, sums;
  int count, d;

  __device__ void put(int part, A most, A total) const {
    statistics[2 * part] = most;
    statistics[2 * part + 1] = total;
  }
  /// How much what was summed relative to `before` counts relative to `most`.
  __device__ static A weight(A before, A most) { return exp2_of<T>(before - most); }
  __device__ A weight_of(int part, A most) const { return weight(statistics[2 * part], most); }

  __device__ A most(A start) const {
    for (int part = 0; part < count; ++part) {
      const A score = statistics[2 * part];
      start = score > start ? score : start;
    }
    return start;
  }
  /// The sums of all parts relative to `most`, in order.
  __device__ A total(A most) const {
    A sum = 0;
    for (int part = 0; part < count; ++part) sum += weight_of(part, most) * statistics[2 * part + 1];
    return sum;
  }
  __device__ A channel(A most, int c) const {
    A sum = 0;
    for (int part = 0; part < count; ++part) sum += weight_of(part, most) * sums[part * d + c];
    return sum;
  }
};

/// So many, and the steps that a kernel takes beyond, are counted in 32 bits.
inline constexpr int64_t kMostVisibleSlots = int64_t{1} << 30;

/// The list of slots that a token sees, its divisions done once.
struct VisibleSlots {
  int dilated, initial, count;         // of the list: ends of its first two parts, and of all
  int to_initial, to_ring, end, ring;  // slot = place in the list + to_...; the ring goes on `ring` before `end`

  __device__ VisibleSlots(const CacheSlots& slots, int64_t position)
      : dilated(static_cast<int>(slots.dilated(position))),
        initial(static_cast<int>(dilated + slots.initial(position))),
        count(static_cast<int>(initial + slots.ring(position))),
        to_initial(static_cast<int>(slots.first_initial() - dilated)),
        to_ring(static_cast<int>(slots.ring_begin(position) - initial)),
        end(static_cast<int>(slots.count())),
        ring(static_cast<int>(slots.count() - slots.first_ring())) {}
  __device__ int operator[](int n) const {
    if (n < dilated) return n;
    if (n < initial) return n + to_initial;
    const int slot = n + to_ring;
    return slot < end ? slot : slot - ring;
  }
  /// Where share i of n begins.
  __device__ int share(int i, int n) const { return static_cast<int>(int64_t{count} * i / n); }
};

}  // namespace ratel::cuda
