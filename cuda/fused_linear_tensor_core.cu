// A linear layer with norm, activation and residual for 2 to 16 rows of bf16 on the tensor cores, and for one that is
// too long for fused_linear_one_row.cu. A block has 16 rows of the weight, and each of its 8 warps every eighth stretch
// of their columns, for all rows of x: the weight is read once and nothing waits for a barrier before the warps' sums
// meet in shared memory, where they are added in order.
//
// Operands go from memory into the registers of the products as they come, 16 bytes a lane: the columns of a product
// may be any 16 if x and the weight have the same ones, so that the four lanes of a row take 8 neighbours each of 32,
// whose first halves are one product's columns, the second halves the next one's. With a norm, x times its weight is
// rounded to bf16, as the composed version rounds the norm; its factor of each row is applied to the sums.
//
// A lane asks for what it has multiplied with again at once, two stretches ahead (one, where a norm takes the
// registers), and for the first of them before it waits for the kernel before this one, which writes x and no weight.
//
// Bytes: 2 N K of the weight in bf16, beside which each block reads x, as many bytes again with 16 rows, from the
// cache. Bound by memory: of the weight a multiprocessor has 64 KB under way. Measured on an H100 with nothing before
// it, 16 rows: N x K of 10240 x 2048 21.7 us (a copy's rate would allow 14), 2048 x 2048 8.8 (2.8), 8192 x 2048 18.0
// (11), 2048 x 8192 18.4 (11); 4 rows: 20.8, 8.4, 17.4, 17.7.

#include "cuda/fused_linear_parts.h"

namespace ratel::cuda {
namespace {

/// Rows of x at most, and of the weight a block; columns of a step, of which a lane has 8; steps of a stretch.
constexpr int kWarps = 8, kMost = kFewFusedRows, kRows = 16, kColumns = 32, kSteps = 4;
static_assert(kMost == 16);
constexpr int kStretch = kSteps * kColumns, kRound = kWarps * kStretch;
/// Floats from one row of sums to the next: those that a warp writes at once lie in different banks.
constexpr int kPitch = 24;

enum class Norm { none, some };
/// Stretches of the weight under way.
template <Norm kNorm>
inline constexpr int kAhead = kNorm == Norm::none ? 2 : 1;

/// 8 bf16 of a row, in pairs.
using Piece = Vec<uint32_t, 4>;

__device__ Piece load_piece(const bfloat16* from, bool is_there) {
  return is_there ? load_vec<4>(reinterpret_cast<const uint32_t*>(from)) : Piece{};
}

/// x times the norm's weight; the squares of x are added to `squares`, one after the other, which takes no registers.
__device__ void apply_norm(Piece& x, const Piece& norm, float& squares) {
  for (int i = 0; i < 4; ++i) {
    const auto values = unpack_bf16(x.at[i]), factors = unpack_bf16(norm.at[i]);
    squares = std::fma(values.at[0], values.at[0], std::fma(values.at[1], values.at[1], squares));
    x.at[i] = pack_bf16(values.at[0] * factors.at[0], values.at[1] * factors.at[1]);
  }
}

template <Norm kNorm>
__global__ __launch_bounds__(kWarps* kWarp, 2) void few_rows_tensor_core(FusedLinearArgs args) {
  SharedArena arena;
  const Shared<float> partial = arena.take<float>(kWarps * kMost * kPitch);
  const Shared<float> squares = arena.take<float>(kWarps * kMost);
  const int K = static_cast<int>(args.K), rows = static_cast<int>(args.rows);
  const int64_t first = static_cast<int64_t>(block_index().x) * kRows;
  const int row = lane_index() / 4, place = lane_index() % 4;  // as the products have them: row, and row + 8
  // From here on at the lane's first column of a stretch, of `left` that there are from there on.
  const int column = warp_index() * kStretch + place * 8;
  int left = K - column;
  const bfloat16 *x = static_cast<const bfloat16*>(args.x) + int64_t{row} * K + column, *weight[2],
                 *norm = static_cast<const bfloat16*>(args.norm_weight);
  const int64_t eight_rows = int64_t{8} * K;
  if constexpr (kNorm == Norm::some) norm += column;
  for (int i = 0; i < 2; ++i) {
    const int64_t n = first + row + 8 * i;
    weight[i] = static_cast<const bfloat16*>(args.weight) + (n < args.N ? n : args.N - 1) * K + column;
  }

  constexpr int kStretches = kAhead<kNorm>;
  Piece of_x[kSteps][2], of_norm[2], of_weight[kStretches][kSteps][2];
  const auto ask_for_x = [&](int step, int c) {
    for (int i = 0; i < 2; ++i) of_x[step][i] = load_piece(x + i * eight_rows + c, c < left && row + 8 * i < rows);
  };
  const auto ask_for_norm = [&](Piece& to, int step) {  // from the cache: two steps ahead are enough
    const int c = step / kSteps * kRound + step % kSteps * kColumns;
    to = load_piece(norm + c, c < left);
  };
  const auto ask_for_weight = [&](Piece(&to)[2], int c) {
    for (int i = 0; i < 2; ++i) to[i] = load_piece(weight[i] + c, c < left);
  };
  let_next_begin();
#pragma unroll
  for (int ahead = 0; ahead < kStretches; ++ahead)
#pragma unroll
    for (int step = 0; step < kSteps; ++step) ask_for_weight(of_weight[ahead][step], ahead * kRound + step * kColumns);
  wait_for_previous();
#pragma unroll
  for (int step = 0; step < kSteps; ++step) ask_for_x(step, step * kColumns);
  if constexpr (kNorm == Norm::some)
    for (int step = 0; step < 2; ++step) ask_for_norm(of_norm[step], step);
  static_assert(kWarps * kWarp == kRows * kMost);  // a thread finishes one product
  const int m = thread_index().x / kRows, n = thread_index().x % kRows;
  const bfloat16 residual = residual_of<bfloat16>(args, m, first + n);

  FragmentC sums[2] = {};
  float square[2] = {};
  for (; left + place * 8 > 0; left -= kStretches * kRound) {  // the same in all lanes
#pragma unroll
    for (int ahead = 0; ahead < kStretches; ++ahead)
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        auto& a = of_x[step];
        auto& b = of_weight[ahead][step];
        if constexpr (kNorm == Norm::some) {
          for (int i = 0; i < 2; ++i) apply_norm(a[i], of_norm[step % 2], square[i]);
          ask_for_norm(of_norm[step % 2], ahead * kSteps + step + 2);
        }
        for (int half = 0; half < 4; half += 2)
          for (int i = 0; i < 2; ++i)
            multiply_16x8x16(sums[i], {{a[0].at[half], a[1].at[half], a[0].at[half + 1], a[1].at[half + 1]}},
                             {{b[i].at[half], b[i].at[half + 1]}});
        ask_for_x(step, (ahead + 1) * kRound + step * kColumns);
        ask_for_weight(b, (ahead + kStretches) * kRound + step * kColumns);
      }
    x += kStretches * kRound;
    for (const bfloat16*& from : weight) from += kStretches * kRound;
    if constexpr (kNorm == Norm::some) norm += kStretches * kRound;
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
  float y = 0;
  for (int warp = 0; warp < kWarps; ++warp) y += partial[(warp * kMost + m) * kPitch + n];
  if constexpr (kNorm == Norm::some) {
    double total = 0;
    for (int warp = 0; warp < kWarps; ++warp) total += static_cast<double>(squares[warp * kMost + m]);
    y *= norm_factor<float>(args, total);
  }
  finish_product(args, m, first + n, y, residual);
}

}  // namespace

void fused_linear_tensor_core(const FusedLinearArgs& args, Stream stream) {
  launch({.kernel = "fused_linear",
          .grid_x = (args.N + kRows - 1) / kRows,
          .block_x = kWarps * kWarp,
          .shared_bytes = shared_size<float>(kWarps * kMost * kPitch) + shared_size<float>(kWarps * kMost),
          .stream = stream,
          .start = Start::early},
         args.norm_weight != nullptr ? few_rows_tensor_core<Norm::some> : few_rows_tensor_core<Norm::none>, args);
}

}  // namespace ratel::cuda
