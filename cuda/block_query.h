#pragma once

// Attention of one query over the blocks that it chooses, by a warp or by a block of them: their lanes score an earlier
// block each, and a warp chooses (block_selection.h); then warps take 32 visible keys at a time, a lane computes the
// score of one, and each lane adds up its channels of the output, which stay in registers, by the online softmax.

#include "cuda/block_selection.h"

namespace ratel::cuda {

/// The softmax of one query, the same numbers in all lanes, and this lane's channels of its output: kChannels in all,
/// kVector neighbours each 32 kVector.
template <class A, int kVector, int kChannels>
struct QueryOutput {
  A largest = -std::numeric_limits<A>::infinity(), total = 0;
  A sums[kChannels] = {};

  /// f(sums of neighbours, their first channel).
  template <class F>
  __device__ void for_each(int d, F&& f) {
#pragma unroll
    for (int piece = 0; piece < kChannels / kVector; ++piece) {
      const int c = (piece * kWarp + lane_index()) * kVector;
      if (c < d) f(sums + piece * kVector, c);
    }
  }
  /// Takes up to 32 keys in: this lane's score is of `key`, or -inf; `count` lanes have one.
  template <class T>
  __device__ void add(A score, int key, int count, HeadRows<const T> v, int d) {
    const A most = warp_max(score), next = most > largest ? most : largest;
    const A p = std::exp(score - next), correction = std::exp(largest - next);
    largest = next;
    total = total * correction + warp_sum(p);
#pragma unroll
    for (int c = 0; c < kChannels; ++c) sums[c] *= correction;
#pragma unroll(kChannels <= 4 ? 8 : 1)
    for (int j = 0; j < count; ++j) {
      const A weight = shuffle(p, j);
      const T* const row = v[shuffle(key, j)];
      for_each(d, [&](A* sum, int c) {
        const auto x = load_vec<kVector>(row + c);
#pragma unroll
        for (int n = 0; n < kVector; ++n) sum[n] += weight * convert_element<A>(x.at[n]);
      });
    }
  }
};

/// Channels a lane: up to 128 in all, or 1024; and how many neighbours of them rows of N allow.
inline constexpr int kNarrow = 4, kWide = 32;
template <int N, int kChannels>
inline constexpr int kBlockVector = N < kChannels ? N : kChannels;

/// Blocks of 128 threads of a multiprocessor at least.
template <int kChannels>
inline constexpr int kBlocksOfQueries = kChannels == kNarrow ? 4 : 2;

/// On the host: of so many queries, a warp each, how many warps run, which have a list of `list_size` scores each:
/// enough to fill a GPU, as long as their lists stay small.
inline int64_t warps_of_queries(int64_t queries, int64_t list_size) {
  return std::min(queries, std::clamp<int64_t>((int64_t{1} << 24) / list_size, 512, 8192));
}

/// Who attends to a query: the warp, or all warps of its block.
struct OneWarp {
  __device__ static int index() { return 0; }
  __device__ static int count() { return 1; }
  __device__ static void sync() { sync_warp(); }
};
struct WholeBlock {
  __device__ static int index() { return warp_index(); }
  __device__ static int count() { return warp_count(); }
  __device__ static void sync() { sync_block(); }
};

/// Of query i, which is in q, and of the visible keys that are this warp's: the largest score, the sum of the softmax,
/// and the sums of values. The query sees `most` blocks at most; `list` has room for its own block's number + 1 scores.
/// By all lanes of the team, after whose reads of the list the next query may begin behind Team::sync().
template <int N, int kChannels, class Team, class T, class A = accumulate_t<T>>
__device__ QueryOutput<A, kBlockVector<N, kChannels>, kChannels> attend_blocks(Shared<A> q, int i, int most,
                                                                               const BlockSummaries<T>& known,
                                                                               HeadRows<const T> v,
                                                                               OrderedScore<A>* list, int d) {
  const int lane = lane_index(), first = Team::index() * kWarp, step = Team::count() * kWarp;
  const int D = known.block_size, own = i / D, chosen = most - 1;
  const A scale = 1 / std::sqrt(static_cast<A>(d));
  int keys = i + 1;
  const bool sees_all = own - 1 <= most - 2;
  if (!sees_all) {
    for (int block = 1 + first + lane; block < own && most > 2; block += step)
      list[block] = ordered(known.template score_of<N>(q, block, d));
    Team::sync();
    if (Team::index() == 0) {
      choose_blocks(list, own, most - 2);
      if (lane == 0) list[chosen] = static_cast<OrderedScore<A>>(own);
    }
    keys = chosen * D + i + 1 - own * D;
    Team::sync();
  }
  QueryOutput<A, kBlockVector<N, kChannels>, kChannels> out;
  for (int begin = first; begin < keys; begin += step) {
    const int count = smaller(kWarp, keys - begin), place = begin + smaller(lane, count - 1);
    const int key = sees_all ? place : static_cast<int>(list[place / D]) * D + place % D;
    const A score = lane < count ? scale * dot<N>(q, known.keys[key], d) : -std::numeric_limits<A>::infinity();
    out.add(score, key, count, v, d);
  }
  return out;
}

}  // namespace ratel::cuda
