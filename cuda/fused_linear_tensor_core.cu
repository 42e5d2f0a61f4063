// A linear layer with norm, activation and residual for 2 to 16 rows of bf16 on the tensor cores. A block has 16 rows
// of the weight, and each of its 8 warps every eighth stretch of their columns, for all rows of x: the weight is read
// once and nothing waits for a barrier before the warps' sums meet in shared memory, where they are added in order.
//
// Operands go from memory into the registers of the products as they come, 16 bytes a lane: the columns of a product
// may be any 16 if x and the weight have the same ones, so that the four lanes of a row take 8 neighbours each of 32,
// whose first halves are one product's columns, the second halves the next one's. With a norm, x times its weight is
// rounded to bf16, as the composed version rounds the norm; its factor of each row is applied to the sums.
//
// Bytes: 2 N K of the weight in bf16, beside which each block reads x, as many bytes again with 16 rows, from the
// cache. Bound by memory: a thread has 128 bytes of the weight under way. Measured on an H100, 16 rows: N x K of
// 10240 x 2048 23 us (a copy's rate would allow 14), 2048 x 2048 9.4 (2.8), 8192 x 2048 19 (11), 2048 x 8192 19 (11); 4
// rows: 22, 9.0, 18, 19.

#include "cuda/fused_linear_parts.h"

namespace ratel::cuda {
namespace {

/// Rows of x at most, and of the weight a block; columns of a step, of which a lane has 8; steps under way at once.
constexpr int kWarps = 8, kMost = kFewFusedRows, kRows = 16, kColumns = 32, kSteps = 4;
static_assert(kMost == 16);
constexpr int kStretch = kSteps * kColumns;
/// Floats from one row of sums to the next: those that a warp writes at once lie in different banks.
constexpr int kPitch = 24;

/// 8 bf16 of a row, in pairs.
using Piece = Vec<uint32_t, 4>;

__device__ Piece load_piece(const bfloat16* from, bool is_there) {
  return is_there ? load_vec<4>(reinterpret_cast<const uint32_t*>(from)) : Piece{};
}

/// x times the norm's weight; returns the sum of the squares of x.
__device__ float apply_norm(Piece& x, const Piece& norm) {
  float squares = 0;
  for (int i = 0; i < 4; ++i) {
    const auto values = unpack_bf16(x.at[i]), factors = unpack_bf16(norm.at[i]);
    squares = std::fma(values.at[0], values.at[0], std::fma(values.at[1], values.at[1], squares));
    x.at[i] = pack_bf16(values.at[0] * factors.at[0], values.at[1] * factors.at[1]);
  }
  return squares;
}

__global__ __launch_bounds__(kWarps* kWarp, 2) void few_rows_tensor_core(FusedLinearArgs args) {
  SharedArena arena;
  const Shared<float> partial = arena.take<float>(kWarps * kMost * kPitch);
  const Shared<float> squares = arena.take<float>(kWarps * kMost);
  const int K = static_cast<int>(args.K), rows = static_cast<int>(args.rows);
  const int64_t first = static_cast<int64_t>(block_index().x) * kRows;
  const int row = lane_index() / 4, place = lane_index() % 4;  // as the products have them: row, and row + 8
  const bfloat16 *x[2], *weight[2], *norm = static_cast<const bfloat16*>(args.norm_weight);
  for (int i = 0; i < 2; ++i) {
    const int64_t n = first + row + 8 * i;
    x[i] = static_cast<const bfloat16*>(args.x) + int64_t{row + 8 * i} * K;
    weight[i] = static_cast<const bfloat16*>(args.weight) + (n < args.N ? n : args.N - 1) * K;
  }

  FragmentC sums[2] = {};
  float square[2] = {};
  for (int begin = warp_index() * kStretch; begin < K; begin += kWarps * kStretch) {
    Piece of_x[kSteps][2], of_weight[kSteps][2], of_norm[kSteps];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int c = begin + step * kColumns + place * 8;
      for (int i = 0; i < 2; ++i) of_weight[step][i] = load_piece(weight[i] + c, c < K);
      for (int i = 0; i < 2; ++i) of_x[step][i] = load_piece(x[i] + c, c < K && row + 8 * i < rows);
      of_norm[step] = load_piece(norm + c, c < K && norm != nullptr);
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      auto& a = of_x[step];
      if (norm != nullptr)
        for (int i = 0; i < 2; ++i) square[i] += apply_norm(a[i], of_norm[step]);
      for (int half = 0; half < 4; half += 2)
        for (int i = 0; i < 2; ++i)
          multiply_16x8x16(sums[i], {{a[0].at[half], a[1].at[half], a[0].at[half + 1], a[1].at[half + 1]}},
                           {{of_weight[step][i].at[half], of_weight[step][i].at[half + 1]}});
    }
  }

  const int own = warp_index() * kMost + row;
  for (int below = 0; below < 2; ++below) {
    for (int i = 0; i < 2; ++i)
      partial.store((own + 8 * below) * kPitch + 8 * i + 2 * place,
                    Vec<float, 2>{{sums[i].at[2 * below], sums[i].at[2 * below + 1]}});
    const float all = lanes_sum<4>(square[below]);
    if (place == 0) squares[own + 8 * below] = all;
  }
  sync_block();
  static_assert(kWarps * kWarp == kRows * kMost);  // a thread finishes one
  const int m = thread_index().x / kRows, column = thread_index().x % kRows;
  if (m >= rows || first + column >= args.N) return;
  float y = 0;
  for (int warp = 0; warp < kWarps; ++warp) y += partial[(warp * kMost + m) * kPitch + column];
  if (norm != nullptr) {
    double total = 0;
    for (int warp = 0; warp < kWarps; ++warp) total += static_cast<double>(squares[warp * kMost + m]);
    y *= norm_factor<float>(args, total);
  }
  finish_product<bfloat16>(args, m, first + column, y);
}

}  // namespace

void fused_linear_tensor_core(const FusedLinearArgs& args, Stream stream) {
  launch({"fused_linear", (args.N + kRows - 1) / kRows, kWarps * kWarp,
          shared_size<float>(kWarps * kMost * kPitch) + shared_size<float>(kWarps * kMost), stream},
         few_rows_tensor_core, args);
}

}  // namespace ratel::cuda
