#pragma once

// What the attention kernels on the tensor cores have in common beside the products of attention_tile.h: tiles of keys
// that are fetched and hidden where queries do not see them, the output gate, and the terms of queries' own keys.

#include <cmath>
#include <limits>
#include <type_traits>

#include "cuda/attention_keys.h"
#include "cuda/attention_tile.h"
#include "cuda/attention_tile_warpgroup.h"
#include "cuda/rotation.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda {

inline constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.69314718055994531f;

/// The lowest n bits, of which Bits has at least so many.
template <class Bits>
__device__ inline Bits ones_below(int n) {
  return n < static_cast<int>(8 * sizeof(Bits)) ? (Bits{1} << n) - 1 : ~Bits{0};
}

/// Scores of the keys that their queries, from `begin` on, do not see become -inf.
template <int N, class Tile>
__device__ inline void hide_unseen(FragmentC (&scores)[N / 8], const Tile& tile, int begin) {
  using Bits = std::conditional_t<N <= 32, uint32_t, uint64_t>;
  if (tile.is_seen_whole_by(begin, N)) return;
  const auto left_out = static_cast<Bits>(tile.left_out_positions());
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const auto seen = tile.seen_by(begin + fragment_row(half));
    const Bits shown = ones_below<Bits>(seen.high) & ~ones_below<Bits>(seen.low) & ~left_out;
    const Bits from_mine_on = shown >> fragment_column(0);
#pragma unroll
    for (int at = 0; at < N / 4; ++at)
      if ((from_mine_on >> (at / 2 * 8 + at % 2) & 1) == 0)
        scores[at / 2].at[2 * half + at % 2] = -std::numeric_limits<float>::infinity();
  }
}

/// Waits for this thread's copies but for the last kPending groups, and for the block's other threads: what lies in
/// tiles may then be multiplied.
template <class Tile, int kPending>
__device__ inline void settle() {
  wait_copies<kPending>();
  if constexpr (Tile::kOfWarpgroup) publish_shared();
  sync_block();
}

/// Begins to copy `count` keys and values to row `into` and on of their rings; zeros follow up to N rows.
template <int N, class Tile>
__device__ inline void begin_load_of(int into, int count, const Tile& key_tiles, const HeadRows<const bfloat16>& keys,
                                     const Tile& value_tiles, const HeadRows<const bfloat16>& values) {
  key_tiles.behind(into).template begin_load<N>(count, keys.data, keys.step);
  value_tiles.behind(into).template begin_load<N>(count, values.data, values.step);
  commit_copies();
}

/// The softmax of a warp's rows over keys that come a tile at a time, in powers of two: p = 2^(s scale - m), where m is
/// the largest so far; of each row the sum of p over this lane's columns, and the sums of p times the values.
template <int d>
struct RunningSoftmax {
  float scale;  // 1 / sqrt(d), and log2 e
  float largest[2] = {}, total[2] = {};
  FragmentC out[d / 8];

  __device__ RunningSoftmax() : scale(kLog2e / std::sqrt(static_cast<float>(d))) {}

  /// Takes N keys up, whose scores are -inf where their query does not see them.
  template <int N, class Tile>
  __device__ void add(FragmentC (&scores)[N / 8], const Tile& values) {
    float correction[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = -std::numeric_limits<float>::infinity();
#pragma unroll
      for (int at = 0; at < N / 4; ++at) {
        const float score = scores[at / 2].at[2 * half + at % 2];
        most = score > most ? score : most;
      }
      most = scale * row_max(most);
      const float next = most > largest[half] ? most : largest[half];
      correction[half] = fast_exp2(largest[half] - next);
      largest[half] = next;
      total[half] *= correction[half];
#pragma unroll
      for (int at = 0; at < N / 4; ++at) {
        float& score = scores[at / 2].at[2 * half + at % 2];
        score = fast_exp2(score * scale - next);
        total[half] += score;
      }
    }
    // Seldom, behind the first tiles: no row's largest score moves.
    if (any(correction[0] != 1 || correction[1] != 1)) {
#pragma unroll
      for (int at = 0; at < d / 2; ++at) out[at / 4].at[at % 4] *= correction[at % 4 / 2];
    }
    add_weighted_rows<N>(out, scores, values);
  }
  /// Divides a row's sums by the sum of all p, which it returns.
  __device__ float divide(int half) {
    const float sum = row_sum(total[half]), share = 1 / sum;
#pragma unroll
    for (int at = 0; at < d / 4; ++at) out[at / 2].at[2 * half + at % 2] *= share;
    return sum;
  }
};

/// The block's rows of a result from the r-th on become zeros.
template <int d>
__device__ inline void clear_rows(const HeadRows<bfloat16>& to, int64_t begin, int first, int64_t tokens) {
  for (int i = thread_index().x; i < kTileRows * (d / 8); i += kTileThreads) {
    const int r = i / (d / 8), channel = i % (d / 8) * 8;
    if (r >= first && begin + r < tokens) store_vec(to[begin + r] + channel, Vec<bfloat16, 8>{});
  }
}

/// Calls f(number, row of the block, channel) for every 16 bytes of the warp's rows, neighbouring lanes with
/// neighbours.
template <int d, class F>
__device__ inline void for_each_piece(F&& f) {
  constexpr int kPieces = d / 8;
#pragma unroll
  for (int n = 0; n < kPieces / 2; ++n) {
    const int i = n * kWarp + lane_index();
    f(n, warp_index() * 16 + i / kPieces, i % kPieces * 8);
  }
}

/// Of the rows of a block, the terms of their own keys; those of a warp's rows are its own.
struct OwnTerms {
  Shared<float> delta, slope, p, ds;
  __device__ explicit OwnTerms(SharedArena& arena)
      : delta(arena.take<float>(kTileRows)),
        slope(arena.take<float>(kTileRows)),
        p(arena.take<float>(kTileRows)),
        ds(arena.take<float>(kTileRows)) {}
  static constexpr size_t size() { return 4 * shared_size<float>(kTileRows); }
};

/// The output gate's part of backward for a block's rows, of gated ones and their gradients: with s = sigmoid(gate),
/// the gradients of the attention, grad s, to args.ungated and `grads`, which has grad, and grad out (1 - s), of the
/// gate, to args.grad_gate. delta = grad out: the gate that the one has more the other has less.
template <int d, class Tile>
__device__ inline void ungate_rows(const OwnTerms& own, const AttentionBackwardArgs& args, const BlockOfHead& block,
                                   int begin, int rows, const Vec<bfloat16, 8> (&out)[d / 16],
                                   const Vec<bfloat16, 8> (&gate)[d / 16], const Tile& grads) {
  const auto ungated = head_rows<bfloat16>(args.ungated, block.b, block.h),
             grad_gate = head_rows<bfloat16>(args.grad_gate, block.b, block.h);
  for_each_piece<d>([&](int n, int r, int channel) {
    const auto grad = grads.data().template load<8>(grads.at(r, channel));
    Vec<bfloat16, 8> of_attention, of_gate;
    float delta = 0;
    for (int c = 0; c < 8; ++c) {
      const float s = fast_sigmoid(static_cast<float>(gate[n].at[c])), slope = static_cast<float>(grad.at[c]),
                  term = slope * static_cast<float>(out[n].at[c]);
      delta += term;
      of_attention.at[c] = round_to_bf16(slope * s);
      of_gate.at[c] = round_to_bf16(term * (1 - s));
    }
    delta = lanes_sum<d / 8>(delta);
    if (channel == 0) own.delta[r] = delta;
    grads.data().store(grads.at(r, channel), of_attention);
    if (r >= rows) return;
    store_vec(ungated[begin + r] + channel, of_attention);
    store_vec(grad_gate[begin + r] + channel, of_gate);
  });
  sync_warp();
}

/// Of each row: to[r] = its grad . other(n, r, channel), where the n-th piece begins.
template <int d, class Tile, class Other>
__device__ inline void multiply_rows_by(const Shared<float>& to, const Tile& grads, Other&& other) {
  for_each_piece<d>([&](int n, int r, int channel) {
    const auto grad = grads.data().template load<8>(grads.at(r, channel));
    const Vec<bfloat16, 8> factors = other(n, r, channel);
    float sum = 0;
    for (int c = 0; c < 8; ++c) sum += static_cast<float>(grad.at[c]) * static_cast<float>(factors.at[c]);
    sum = lanes_sum<d / 8>(sum);
    if (channel == 0) to[r] = sum;
  });
}
/// delta = grad . out without a gate, and slope = grad . v. Added in one order: of a query that sees itself alone, and
/// without a gate, both are the same bits.
template <int d, class Tile>
__device__ inline void find_deltas(const OwnTerms& own, const Tile& grads, const Vec<bfloat16, 8> (&out)[d / 16]) {
  multiply_rows_by<d>(own.delta, grads, [&](int n, int, int) { return out[n]; });
}
template <int d, class Tile>
__device__ inline void find_slopes(const OwnTerms& own, const Tile& grads, const Tile& values) {
  multiply_rows_by<d>(own.slope, grads,
                      [&](int, int r, int channel) { return values.data().template load<8>(values.at(r, channel)); });
}

/// Pairs of cosine and sine of a block's tokens, d numbers each.
__device__ inline const float* turns_of(const AttentionTurns& turns, const BlockOfHead& block,
                                        const AttentionShape& shape, int begin) {
  return static_cast<const float*>(turns.data) + block.b * turns.batch + begin * shape.d;
}

/// Pairs of cosine and sine, of eight channels.
struct Turns {
  Vec<float, 2> at[8];

  __device__ explicit Turns(const float* pairs) {
#pragma unroll
    for (int c = 0; c < 8; c += 2) {
      const auto two = load_vec<4>(pairs + 2 * c);
      at[c] = {{two.at[0], two.at[1]}};
      at[c + 1] = {{two.at[2], two.at[3]}};
    }
  }
  /// Turned further by `by`, and back by it.
  __device__ void add(const Turns& by) {
#pragma unroll
    for (int c = 0; c < 8; ++c) at[c] = turned(at[c].at[0], at[c].at[1], by.at[c]);
  }
  __device__ void subtract(const Turns& by) {
#pragma unroll
    for (int c = 0; c < 8; ++c) at[c] = turned_back(at[c].at[0], at[c].at[1], by.at[c]);
  }
};

/// A warp's rows in shared memory, `rows` of the block's, become the rotated ones, which f(row of the block, channel, 8
/// values) is told too. Of the table two rows are read, the others follow by turning on, which errs by some 1e-6 over a
/// warp's sixteen: all of them would be as many bytes from the cache as half of what else the block reads.
template <int d, class Tile, class F>
__device__ inline void turn_rows(const Tile& tile, int rows, const float* turns, F&& f) {
  constexpr int kPieces = d / 16, kRowsAtOnce = kWarp / kPieces;  // of half a row
  static_assert(kRowsAtOnce == 4 || kRowsAtOnce == 8);
  const int first = warp_index() * 16, mine = lane_index() / kPieces, channel = lane_index() % kPieces * 8;
  const auto of_row = [&](int r) { return Turns(turns + smaller(r, rows - 1) * d + 2 * channel); };
  Turns now = of_row(first), step = of_row(first + 1);
  step.subtract(now);
  for (int bit = 1; bit < kRowsAtOnce; bit *= 2) {
    if ((mine & bit) != 0) now.add(step);
    step.add(step);
  }
#pragma unroll 1
  for (int r = first + mine; r < first + 16; r += kRowsAtOnce) {
    auto left = tile.data().template load<8>(tile.at(r, channel)),
         right = tile.data().template load<8>(tile.at(r, channel + d / 2));
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      const auto pair = turned(static_cast<float>(left.at[c]), static_cast<float>(right.at[c]), now.at[c]);
      left.at[c] = round_to_bf16(pair.at[0]);
      right.at[c] = round_to_bf16(pair.at[1]);
    }
    tile.data().store(tile.at(r, channel), left);
    tile.data().store(tile.at(r, channel + d / 2), right);
    f(r, channel, left);
    f(r, channel + d / 2, right);
    now.add(step);
  }
  sync_warp();
}

/// A warp's sums, gradients of rotated rows, become those of the rows before; turns(half): the pairs of cosine and sine
/// of this lane's row. A pair of channels d/2 apart lies in one lane.
template <int d, class Turns>
__device__ inline void turn_back(FragmentC (&sums)[d / 8], Turns&& turns) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float* const of_row = turns(half);
#pragma unroll
    for (int n = 0; n < d / 16; ++n) {
      const auto turn = load_vec<4>(of_row + 2 * fragment_column(n));
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float &left = sums[n].at[2 * half + c], &right = sums[n + d / 16].at[2 * half + c];
        const auto pair = turned_back(left, right, {{turn.at[2 * c], turn.at[2 * c + 1]}});
        left = pair.at[0];
        right = pair.at[1];
      }
    }
  }
}

}  // namespace ratel::cuda
