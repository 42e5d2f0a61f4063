#pragma once

// The same tiles for products of a warpgroup (warpgroup.h), in place of RowTile's: the block's four warps are one.

#include "cuda/attention_tile.h"
#include "cuda/warpgroup.h"

namespace ratel::cuda {

/// Rows of d channels in shared memory, as wgmma reads them. An arena has them before anything else, so that they begin
/// at multiples of 1024 bytes; rows are counted in eights.
template <int d>
class SwizzledTile {
 public:
  static constexpr int kChannels = d;
  static constexpr bool kExists = kHasWarpgroups;
  static constexpr bool kOfWarpgroup = true;

  __device__ SwizzledTile(SharedArena& arena, int rows)
      : data_(arena.take<bfloat16>(rows * d)), stretch_(rows * kStretch) {}
  /// The tile behind `rows` rows of this one.
  __device__ SwizzledTile behind(int rows) const { return SwizzledTile(data_ + rows * kStretch, stretch_); }
  static constexpr size_t size(int rows) { return shared_size<bfloat16>(rows * d); }

  __device__ int at(int row, int channel) const {
    return channel / kStretch * stretch_ + row * kStretch + (channel % kStretch ^ row % 8 * 8);
  }
  __device__ Shared<bfloat16> data() const { return data_; }

  /// As RowTile's.
  template <int kRows, class Step>
  __device__ void begin_load(int count, const bfloat16* rows, Step step, int begin = 0) const {
    const TileThread<d> mine;
    static_assert(mine.kRowsAtOnce % 8 == 0);
    begin_copies<d, kRows, kStretch>(data_, at(mine.row, mine.channel), count, rows, step, begin);
  }

  /// As RowTile's, for products of a warp on its own.
  __device__ FragmentA left(int row, int channel) const {
    FragmentA a;
    load_matrix_x4(a.at, data_, further(at(row + lane_index() % 16, lane_index() / 16 * 8), channel));
    return a;
  }
  __device__ void right(FragmentB (&b)[2], int row, int channel) const {
    const int lane = lane_index();
    uint32_t all[4];
    load_matrix_x4(all, data_, further(at(row + lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8), channel));
    b[0] = {{all[0], all[1]}};
    b[1] = {{all[2], all[3]}};
  }
  /// The whole tile, and how far behind its beginning a row and a channel are, multiples of 8 and 16.
  __device__ SharedMatrix matrix() const { return shared_matrix(data_, 0, stretch_); }
  __device__ int offset(int row, int channel) const {
    return channel / kStretch * stretch_ + row * kStretch + channel % kStretch;
  }

 private:
  /// What is so many channels, a multiple of 16, behind one of the first 16: one operation where the rest is known.
  __device__ int further(int at, int channels) const {
    return (at ^ channels % kStretch) + channels / kStretch * stretch_;
  }
  __device__ SwizzledTile(Shared<bfloat16> data, int stretch) : data_(data), stretch_(stretch) {}

  Shared<bfloat16> data_;
  int stretch_;  // elements from a stretch of columns to the next
};

/// The products read the rows where they lie.
template <int d, int kHeld>
struct Held<SwizzledTile<d>, kHeld> {
  SwizzledTile<d> tile;
  __device__ explicit Held(const SwizzledTile<d>& of) : tile(of) {}
};

template <int N, int d>
__device__ inline void begin_multiplying(FragmentC (&sums)[N / 8], const SwizzledTile<d>& left,
                                         const SwizzledTile<d>& right) {
  const SharedMatrix a = left.matrix(), b = right.matrix();
  begin_products();
  set_products_by_rows<N>(sums, a, b);
#pragma unroll
  for (int c = 16; c < d; c += 16)
    add_products_by_rows<N>(sums, a.behind(left.offset(0, c)), b.behind(right.offset(0, c)));
  commit_products();
}
template <int N, int d, int kHeld>
__device__ inline void begin_multiplying(FragmentC (&sums)[N / 8], const Held<SwizzledTile<d>, kHeld>& left,
                                         const SwizzledTile<d>& right) {
  begin_multiplying<N>(sums, left.tile, right);
}
template <int N, int d>
__device__ inline void begin_adding(FragmentC (&sums)[d / 8], RoundedWeights<N>& weights,
                                    const SwizzledTile<d>& right) {
  const SharedMatrix b = right.matrix();
  begin_products(sums, weights.at);
#pragma unroll
  for (int n = 0; n < N / 16; ++n) add_products_by_columns<d>(sums, weights.at[n], b.behind(right.offset(16 * n, 0)));
  commit_products();
}

template <int N>
__device__ inline void keep(RoundedWeights<N>& weights) {
  keep(weights.at);
}
/// Waits until no more of the products that were begun than kPending are under way: `done`, sums and weights, belong to
/// none of those.
template <class Tile, int kPending, class... Done>
__device__ inline void await(Done&... done) {
  if constexpr (Tile::kOfWarpgroup) {
    wait_products<kPending>();
    (keep(done), ...);
  }
}

template <int N, class Left, int d>
__device__ inline void multiply_tile(FragmentC (&sums)[N / 8], const Left& left, const SwizzledTile<d>& right) {
  begin_multiplying<N>(sums, left, right);
  await<SwizzledTile<d>, 0>(sums);
}
template <int N, int d>
__device__ inline void add_weighted_rows(FragmentC (&sums)[d / 8], const FragmentC (&weights)[N / 8],
                                         const SwizzledTile<d>& right) {
  RoundedWeights<N> rounded_weights(weights);
  begin_adding(sums, rounded_weights, right);
  await<SwizzledTile<d>, 0>(sums, rounded_weights);
}

}  // namespace ratel::cuda
