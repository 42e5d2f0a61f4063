#pragma once

// Products of tiles of bf16 rows on the tensor cores, as the attention kernels need them: a warp has 16 rows of the
// left operand. Sums lie as FragmentC says: lane l has rows l / 4 and l / 4 + 8, of every 8 columns the two from 2 (l %
// 4) on.

#include "cuda/device.h"

namespace ratel::cuda {

inline constexpr int kTileThreads = 128, kTileRows = 64;  // four warps of 16 rows

/// What a thread copies of a tile's rows: 16 bytes from a channel on, of one row in kRowsAtOnce.
template <int d>
struct TileThread {
  static constexpr int kPieces = d / 8, kRowsAtOnce = kTileThreads / kPieces;
  static_assert(kTileThreads % kPieces == 0);
  int row = thread_index().x / kPieces, channel = thread_index().x % kPieces * 8;
};

/// The copies of a tile's begin_load(): from `into` on, rows that lie kInto elements apart. With a step of 64 bits all
/// addresses are of rows that are there; the kernel that takes 32 has no registers for the choice.
template <int d, int kRows, int kInto, class Step>
__device__ inline void begin_copies(Shared<bfloat16> data, int into, int count, const bfloat16* rows, Step step,
                                    int begin) {
  const TileThread<d> mine;
  const bfloat16* row = rows + static_cast<int64_t>(begin + mine.row) * step + mine.channel;
#pragma unroll
  for (int r = 0; r < kRows; r += mine.kRowsAtOnce) {
    const bool valid = mine.row + r < count;  // of another row nothing is read, wherever it would lie
    copy_async_16(data, into + r * kInto, valid || sizeof(Step) == 4 ? row : rows, valid);
    row += static_cast<int64_t>(mine.kRowsAtOnce) * step;
  }
}

/// Rows of d channels in shared memory, for products of a warp (mma.sync). They lie 16 bytes further apart than they
/// are long, so that the eight rows of a matrix that ldmatrix reads lie in different banks, and that one address a lane
/// serves all steps of a product: the rest are constants of the instructions.
template <int d>
class RowTile {
 public:
  static constexpr int kChannels = d;
  static constexpr bool kExists = true;  // on every machine
  static constexpr bool kOfWarpgroup = false;

  __device__ RowTile(SharedArena& arena, int rows) : data_(arena.take<bfloat16>(rows * kStep)) {}
  __device__ explicit RowTile(Shared<bfloat16> data) : data_(data) {}
  /// The tile behind `rows` rows of this one.
  __device__ RowTile behind(int rows) const { return RowTile(data_ + rows * kStep); }
  /// Bytes of so many rows.
  static constexpr size_t size(int rows) { return shared_size<bfloat16>(rows * kStep); }

  __device__ static int at(int row, int channel) { return row * kStep + channel; }
  __device__ Shared<bfloat16> data() const { return data_; }

  /// Begins to copy `count` rows from the `begin`-th on of those that lie `step` elements apart; zeros follow up to
  /// kRows. A step of 32 bits is multiplied far faster than one of 64.
  template <int kRows, class Step>
  __device__ void begin_load(int count, const bfloat16* rows, Step step, int begin = 0) const {
    const TileThread<d> mine;
    begin_copies<d, kRows, kStep>(data_, at(mine.row, mine.channel), count, rows, step, begin);
  }

  /// 16 rows by 16 channels from (row, channel) on, multiples of 16, as a left operand.
  __device__ FragmentA left(int row, int channel) const {
    FragmentA a;
    load_matrix_x4(a.at, data_, at(lane_index() % 16, lane_index() / 16 * 8) + at(row, channel));
    return a;
  }
  /// The same as two right operands: the rows are columns of the product ...
  __device__ void right(FragmentB (&b)[2], int row, int channel) const {
    const int lane = lane_index();
    uint32_t all[4];
    load_matrix_x4(all, data_, at(lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8) + at(row, channel));
    b[0] = {{all[0], all[1]}};
    b[1] = {{all[2], all[3]}};
  }
  /// ... or the channels are.
  __device__ void right_by_channel(FragmentB (&b)[2], int row, int channel) const {
    uint32_t all[4];
    load_matrix_x4_transposed(all, data_, at(lane_index() % 16, lane_index() / 16 * 8) + at(row, channel));
    b[0] = {{all[0], all[1]}};
    b[1] = {{all[2], all[3]}};
  }

 private:
  static constexpr int kStep = d + 8;

  Shared<bfloat16> data_;
};

/// Begins to copy `count` rows that lie anywhere, row(r) is the r-th; zeros follow up to kRows.
template <int kRows, class Tile, class Row>
__device__ inline void begin_gather(const Tile& tile, int count, Row&& row) {
  const TileThread<Tile::kChannels> mine;
#pragma unroll 1
  for (int r = mine.row; r < kRows; r += mine.kRowsAtOnce)
    copy_async_16(tile.data(), tile.at(r, mine.channel), row(r < count ? r : 0) + mine.channel, r < count);
}

/// Of a warp: sums (16, N) += 16 rows, left(c) their channels from c on, times the N rows of `right`. kSteps of 16
/// channels are unrolled.
template <int N, int kSteps, class Left, class Tile>
__device__ inline void add_products(FragmentC (&sums)[N / 8], Left&& left, const Tile& right) {
#pragma unroll kSteps
  for (int c = 0; c < Tile::kChannels; c += 16) {
    const FragmentA a = left(c);
#pragma unroll
    for (int n = 0; n < N; n += 16) {
      FragmentB b[2];
      right.right(b, n, c);
      multiply_16x8x16(sums[n / 8], a, b[0]);
      multiply_16x8x16(sums[n / 8 + 1], a, b[1]);
    }
  }
}

/// Of a warp: sums (16, N) = the 16 rows of `left` from `row` on, times the N rows of `right`.
template <int N, class Tile>
__device__ inline void multiply_rows(FragmentC (&sums)[N / 8], const Tile& left, int row, const Tile& right) {
#pragma unroll
  for (int n = 0; n < N / 8; ++n) sums[n] = {};
  // Wholly unrolled, its operands take more registers than there are.
  add_products<N, 4>(
      sums, [&](int c) { return left.left(row, c); }, right);
}

/// The block's rows as left operands that many tiles meet; a warp keeps kHeld channels of its 16 in registers.
template <class Tile, int kHeld = Tile::kChannels>
class Held;
template <int d, int kHeld>
class Held<RowTile<d>, kHeld> {
 public:
  __device__ explicit Held(const RowTile<d>& tile) : tile_(tile) {
#pragma unroll
    for (int c = 0; c < kHeld; c += 16) held_[c / 16] = tile.left(warp_index() * 16, c);
  }
  __device__ FragmentA at(int channel) const {
    return channel < kHeld ? held_[channel / 16] : tile_.left(warp_index() * 16, channel);
  }

 private:
  FragmentA held_[kHeld / 16];
  RowTile<d> tile_;
};

/// Of the block: sums (64, N) = the 64 rows of `left` times the N rows of `right`; a warp has 16 of them.
template <int N, int d>
__device__ inline void multiply_tile(FragmentC (&sums)[N / 8], const RowTile<d>& left, const RowTile<d>& right) {
  multiply_rows<N>(sums, left, warp_index() * 16, right);
}
template <int N, int d, int kHeld>
__device__ inline void multiply_tile(FragmentC (&sums)[N / 8], const Held<RowTile<d>, kHeld>& left,
                                     const RowTile<d>& right) {
#pragma unroll
  for (int n = 0; n < N / 8; ++n) sums[n] = {};
  add_products<N, d / 16>(
      sums, [&](int c) { return left.at(c); }, right);
}

/// Weights (16, 16) of a warp, rounded to bf16, as a left operand.
__device__ inline FragmentA rounded(const FragmentC& near, const FragmentC& far) {
  return {{pack_bf16(near.at[0], near.at[1]), pack_bf16(near.at[2], near.at[3]), pack_bf16(far.at[0], far.at[1]),
           pack_bf16(far.at[2], far.at[3])}};
}

/// Of a warp: sums (16, d) += weights (16, 16) times the 16 rows of `right` from `row` on.
template <int d>
__device__ inline void add_sixteen_rows(FragmentC (&sums)[d / 8], const FragmentA& weights, const RowTile<d>& right,
                                        int row) {
#pragma unroll
  for (int c = 0; c < d; c += 16) {
    FragmentB b[2];
    right.right_by_channel(b, row, c);
    multiply_16x8x16(sums[c / 8], weights, b[0]);
    multiply_16x8x16(sums[c / 8 + 1], weights, b[1]);
  }
}

/// Of the block: sums (64, d) += weights (64, N), rounded to bf16, times the N rows of `right`.
template <int N, int d>
__device__ inline void add_weighted_rows(FragmentC (&sums)[d / 8], const FragmentC (&weights)[N / 8],
                                         const RowTile<d>& right) {
#pragma unroll
  for (int n = 0; n < N; n += 16) add_sixteen_rows(sums, rounded(weights[n / 8], weights[n / 8 + 1]), right, n);
}

/// Weights (64, N) of a block, rounded to bf16.
template <int N>
struct RoundedWeights {
  FragmentA at[N / 16];
  __device__ explicit RoundedWeights(const FragmentC (&of)[N / 8]) {
#pragma unroll
    for (int n = 0; n < N / 16; ++n) at[n] = rounded(of[2 * n], of[2 * n + 1]);
  }
};

/// Both products once more, begun only: await() of attention_tile_warpgroup.h waits for them, and until then nothing
/// may touch their sums and weights. A warp's products are there at once.
template <int N, class Left, int d>
__device__ inline void begin_multiplying(FragmentC (&sums)[N / 8], const Left& left, const RowTile<d>& right) {
  multiply_tile<N>(sums, left, right);
}
template <int N, int d>
__device__ inline void begin_adding(FragmentC (&sums)[d / 8], RoundedWeights<N>& weights, const RowTile<d>& right) {
#pragma unroll
  for (int n = 0; n < N; n += 16) add_sixteen_rows(sums, weights.at[n / 16], right, n);
}

/// Where this lane's numbers of a warp's sums are: rows row(0) and row(1) of the block's 64, columns column(n) and the
/// next of the n-th eight.
__device__ inline int fragment_row(int half) { return warp_index() * 16 + lane_index() / 4 + 8 * half; }
__device__ inline int fragment_column(int n) { return 8 * n + lane_index() % 4 * 2; }

/// Over the four lanes that share a row.
__device__ inline float row_sum(float value) { return lanes_sum<4>(value); }
__device__ inline float row_max(float value) { return lanes_max<4>(value); }

/// sums = the 16 rows of `tile` from `row` on, each times the factor of this lane's row.
template <int d, class Tile>
__device__ inline void start_from_tile(FragmentC (&sums)[d / 8], const Tile& tile, int row, const float (&factor)[2]) {
#pragma unroll
  for (int c = 0; c < d; c += 16) {
    const FragmentA rows = tile.left(row, c);
#pragma unroll
    for (int part = 0; part < 4; ++part) {  // columns 0 to 7, of both halves of the rows, then 8 to 15
      const auto pair = unpack_bf16(rows.at[part]);
      FragmentC& eight = sums[c / 8 + part / 2];
      eight.at[part % 2 * 2] = factor[part % 2] * pair.at[0];
      eight.at[part % 2 * 2 + 1] = factor[part % 2] * pair.at[1];
    }
  }
}

/// Of the sums (16, 16) of a warp: the one on the diagonal in row fragment_row(half), in all lanes of that row.
__device__ inline float diagonal(const FragmentC (&sums)[2], int half) {
  const int row = lane_index() / 4;
  const float mine = sums[half].at[2 * half + 0], next = sums[half].at[2 * half + 1];
  return shuffle(row % 2 == 0 ? mine : next, 4 * row + row / 2);
}

/// The warp's rows of `tile`, which no other warp may be using, become its sums, rounded.
template <int d, class Tile>
__device__ inline void round_rows(const FragmentC (&sums)[d / 8], const Tile& tile) {
  sync_warp();
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int n = 0; n < d / 8; ++n)
      tile.data().store(
          tile.at(fragment_row(half), fragment_column(n)),
          Vec<bfloat16, 2>{{round_to_bf16(sums[n].at[2 * half]), round_to_bf16(sums[n].at[2 * half + 1])}});
  sync_warp();
}
/// And then go in pieces of 16 bytes to f(row of the block, channel, 8 values).
template <int d, class Tile, class F>
__device__ inline void store_rows(const FragmentC (&sums)[d / 8], const Tile& tile, F&& f) {
  round_rows<d>(sums, tile);
  constexpr int kPieces = d / 8;
  for (int i = lane_index(); i < 16 * kPieces; i += kWarp) {
    const int r = warp_index() * 16 + i / kPieces, channel = i % kPieces * 8;
    f(r, channel, tile.data().template load<8>(tile.at(r, channel)));
  }
}

}  // namespace ratel::cuda
