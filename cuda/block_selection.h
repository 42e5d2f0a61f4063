#pragma once

// Top-k blocks on a GPU, a warp a query: the scores of its earlier blocks, and the list of those it sees.

#include <bit>
#include <cmath>
#include <limits>

#include "cuda/attention_keys.h"

namespace ratel::cuda {

/// A score as an integer of the same order, and the list's entries. -0 is 0; NaN is the least.
template <class A>
using OrderedScore = std::conditional_t<sizeof(A) == 4, uint32_t, uint64_t>;

template <class A>
__device__ OrderedScore<A> ordered(A score) {
  using Key = OrderedScore<A>;
  constexpr Key kSign = Key{1} << (8 * sizeof(A) - 1);
  if (!(score == score)) score = -std::numeric_limits<A>::infinity();
  const Key bits = std::bit_cast<Key>(score == 0 ? A{0} : score);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

/// Channels whose products are summed on their own before they join the sum of all: long sums round less.
inline constexpr int kDotChannels = 16;

/// N neighbours of the query's row.
template <int N, class A>
__device__ void load_query(Shared<A> q, int c, A (&to)[N]) {
  if constexpr (N == 1) {
    to[0] = q[c];
  } else {
#pragma unroll
    for (int piece = 0; piece < N; piece += kPerVec<A>) {
      const auto values = q.template load<kPerVec<A>>(c + piece);
#pragma unroll
      for (int n = 0; n < kPerVec<A>; ++n) to[piece + n] = values.at[n];
    }
  }
}

/// The sum over a row's d channels, of which f(c, sum) adds N neighbours. kGroups at once, so that their loads are
/// under way together: a lane reads a row of its own, and waits for memory.
template <int N, int kGroups, class A, class F>
__device__ A sum_channels(int d, F&& f) {
  A sum = 0;
  int c = 0;
#pragma unroll(kGroups)
  for (; c + kDotChannels <= d; c += kDotChannels) {
    A few = 0;
#pragma unroll
    for (int i = 0; i < kDotChannels; i += N) f(c + i, few);
    sum += few;
  }
  A rest = 0;
  for (; c < d; c += N) f(c, rest);
  return sum + rest;
}

/// The query's row in shared memory times a row in global memory, by one lane, N elements at a time.
template <int N, class T, class A>
__device__ A dot(Shared<A> q, const T* row, int d) {
  return sum_channels<N, (N == 8 ? 2 : 1), A>(d, [&](int c, A& sum) {
    const auto x = load_vec<N>(row + c);
    A query[N];
    load_query(q, c, query);
#pragma unroll
    for (int n = 0; n < N; ++n) sum += query[n] * convert_element<A>(x.at[n]);
  });
}

/// The sum over channels of max(q min, q max), which is q max where q is positive and q min where it is negative.
template <int N, class A>
__device__ A upper_bound(Shared<A> q, const A* least, const A* greatest, int d) {
  return sum_channels<N, 1, A>(d, [&](int c, A& sum) {
    const auto low = load_vec<N>(least + c), high = load_vec<N>(greatest + c);
    A query[N];
    load_query(q, c, query);
#pragma unroll
    for (int n = 0; n < N; ++n) sum += query[n] * (query[n] < 0 ? low.at[n] : high.at[n]);
  });
}

/// Where one query finds what it knows of the blocks: the keys (last), or rows of sums (mean) or of least and greatest
/// values (minmax).
template <class T>
struct BlockSummaries {
  using A = accumulate_t<T>;
  BlockScore score;
  int block_size;
  HeadRows<const T> keys;
  const A* rows;

  /// By one lane; kVector is that of the keys' rows.
  template <int kVector>
  __device__ A score_of(Shared<A> q, int64_t block, int d) const {
    constexpr int kOfRows = kVector == 1 ? 1 : kPerVec<A>;
    if (score == BlockScore::last) return dot<kVector>(q, keys[(block + 1) * block_size - 1], d);
    if (score == BlockScore::mean) return dot<kOfRows>(q, rows + block * d, d);
    return upper_bound<kOfRows>(q, rows + 2 * block * d, rows + (2 * block + 1) * d, d);
  }
};

/// Of `own` blocks, whose scores from block 1 on are at list[1] ... list[own - 1], leaves those that a query sees in
/// list[0] ... in rising order: the first, and the `wanted` of the others that score highest, of equal ones the
/// earlier. wanted < own - 1. They are wanted + 1; sync_warp() before reading them. By all lanes of a warp.
///
/// The wanted-th greatest score is found bit by bit, each by counting the scores that are not below, until a bit leaves
/// just as many as are wanted: at most as many readings of the list as a score has bits, from the first-level cache,
/// and the same result for any order of the lanes.
template <class Key>
__device__ void choose_blocks(Key* list, int own, int wanted) {
  const int lane = lane_index();
  if (lane == 0) list[0] = 0;
  if (wanted == 0) return;
  const auto count_if = [&](auto&& admits) {
    int count = 0;
#pragma unroll 2
    for (int base = 1; base < own; base += kWarp) {
      const int block = base + lane;
      count += count_ones(ballot(block < own && admits(list[block])));
    }
    return count;
  };
  Key threshold = 0;
  for (int bit = static_cast<int>(8 * sizeof(Key)) - 1; bit >= 0; --bit) {
    const Key candidate = threshold | Key{1} << bit;
    const int count = count_if([&](Key score) { return score >= candidate; });
    if (count >= wanted) threshold = candidate;
    if (count == wanted) break;
  }
  int equal_left = wanted - count_if([&](Key score) { return score > threshold; }), chosen = 1;
  const uint32_t lanes_before = (uint32_t{1} << lane) - 1;
  // Block b moves to a place <= b, which all lanes have read: the list is packed where it lies.
  for (int base = 1; base < own && chosen <= wanted; base += kWarp) {
    const int block = base + lane;
    const Key score = block < own ? list[block] : 0;
    const bool is_equal = block < own && score == threshold;
    const uint32_t equal = ballot(is_equal);
    const bool sees = block < own && (score > threshold || (is_equal && count_ones(equal & lanes_before) < equal_left));
    const uint32_t seen = ballot(sees);
    if (sees) list[chosen + count_ones(seen & lanes_before)] = static_cast<Key>(block);
    equal_left -= smaller(equal_left, count_ones(equal));
    chosen += count_ones(seen);
  }
}

}  // namespace ratel::cuda
