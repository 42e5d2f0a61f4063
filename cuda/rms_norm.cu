// Root-mean-square normalisation on a GPU. With h = x r, r = 1 / std::sqrt(mean x^2 + eps):
//
//   y = h w;   dx = r (dy w - h mean(dy w h)) + the residual's gradient, if any;   dw = sum over rows of dy h.
//
// Forward: a block takes a row, its threads N neighbouring channels at a time; the second reading of the row hits the
// cache. Backward: a block takes a piece of rows, one after the other. Where a thread has one vector of a row, it holds
// it in registers, with the dw of its channels, and the next row is on its way while this one's sum is formed; longer
// rows are read twice, and their dw kept in shared memory. A second kernel adds the pieces' dw: warps each some of them
// for 32 channels, then the warps' in order. Pieces follow from the shape alone, so that the sums have the same bits
// every time. Bytes an element in bf16: forward 4, backward 6, 8 with the residual's gradient, whose addition in a pass
// of its own would move 6; bound by memory.
//
// Measured on an H100 at 32768 x 2048 in bf16: forward 96 us of 90 at the rate of a copy; forward and backward with a
// residual 304 of 268. Backward asks for the next row before this one's barrier, and many threads add a channel's
// pieces: one alone would take 61 us.

#include "ops/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "cuda/device.h"
#include "cuda/inverse_root.h"
#include "cuda/scratch.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 256;

/// `share` is 1 / C.
template <class T, int N>
__global__ __launch_bounds__(kThreads) void forward(RmsNormArgs args, double share) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const Shared<A> scratch = arena.take<A>(kThreads / kWarp);
  const int C = static_cast<int>(args.C), step = kThreads * N, mine = thread_index().x * N;
  const int64_t row = block_index().x;
  const T* x = static_cast<const T*>(args.x) + row * C;
  const T* w = static_cast<const T*>(args.weight);
  T* y = static_cast<T*>(args.y) + row * C;
  let_next_begin();
  wait_for_previous();
  A squares = 0;
  for (int c = mine; c < C; c += step) {
    const auto values = load_vec<N>(x + c);
    for (int i = 0; i < N; ++i) {
      const A value = convert_element<A>(values.at[i]);
      squares += value * value;
    }
  }
  // Once a row in f64: every product with r carries its error.
  const double mean = static_cast<double>(block_sum(squares, scratch)) * share;
  const A r = inverse_root<A>(mean + args.eps);
  if (thread_index().x == 0) static_cast<A*>(args.inverse_rms)[row] = r;
  for (int c = mine; c < C; c += step) {
    const auto values = load_vec<N>(x + c), weights = load_vec<N>(w + c);
    Vec<T, N> out;
    for (int i = 0; i < N; ++i)
      out.at[i] = round_to<T>(convert_element<A>(values.at[i]) * r * convert_element<A>(weights.at[i]));
    store_vec(y + c, out);
  }
}

/// Rows a block takes: one where nothing is summed over rows, else so many that few sums are left to add.
int64_t rows_per_piece(const RmsNormBackwardArgs& args) {
  constexpr int64_t kPieces = 384;
  return args.grad_weight == nullptr ? 1 : std::max<int64_t>(1, (args.rows + kPieces - 1) / kPieces);
}

/// Rows of one vector a thread; `sums` (pieces, C) receives the pieces' dw. Three blocks a multiprocessor leave a
/// thread 80 registers; all pieces run at once on the 132 of an H100.
template <class T, int N>
__global__ __launch_bounds__(kThreads, 3) void backward_held(RmsNormBackwardArgs args, int64_t rows_per_piece,
                                                             accumulate_t<T>* sums) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const Shared<A> scratch = arena.take<A>(2 * (kThreads / kWarp));
  const int C = static_cast<int>(args.C), c = thread_index().x * N;
  const bool is_mine = c < C;
  const auto read = [&](const void* from, int64_t row) {
    return is_mine && from != nullptr ? load_vec<N>(static_cast<const T*>(from) + row * C + c) : Vec<T, N>{};
  };
  const int64_t begin = block_index().x * rows_per_piece;
  const int64_t end = begin + rows_per_piece < args.rows ? begin + rows_per_piece : args.rows;
  const A* inverse_rms = static_cast<const A*>(args.inverse_rms);
  const auto weights = read(args.weight, 0);
  auto next_x = read(args.x, begin), next_dy = read(args.grad, begin), next_residual = read(args.grad_residual, begin);
  A next_r = inverse_rms[begin], kept[N] = {};
  for (int64_t row = begin; row < end; ++row) {
    const auto x = next_x, dy = next_dy, residual = next_residual;
    const A r = next_r;
    if (row + 1 < end) {
      next_x = read(args.x, row + 1);
      next_dy = read(args.grad, row + 1);
      next_residual = read(args.grad_residual, row + 1);
      next_r = inverse_rms[row + 1];
    }
    A dot = 0;
    for (int i = 0; i < N; ++i) {
      const A value = convert_element<A>(x.at[i]), slope = convert_element<A>(dy.at[i]);
      dot += slope * convert_element<A>(weights.at[i]) * value;
      kept[i] = std::fma(slope * value, r, kept[i]);
    }
    if (args.grad_x == nullptr) continue;
    // Two scratches in turns: the next row may write one while slower warps still read the other.
    const A along = block_sum(dot, scratch + static_cast<int>((row - begin) % 2) * (kThreads / kWarp)) * (r * r) /
                    static_cast<A>(C);
    Vec<T, N> out;
    for (int i = 0; i < N; ++i) {
      const A slope = convert_element<A>(dy.at[i]) * convert_element<A>(weights.at[i]);
      out.at[i] = round_to<T>((slope - convert_element<A>(x.at[i]) * along) * r + convert_element<A>(residual.at[i]));
    }
    if (is_mine) store_vec(static_cast<T*>(args.grad_x) + row * C + c, out);
  }
  if (!is_mine) return;
  for (int i = 0; i < N; ++i) sums[static_cast<int64_t>(block_index().x) * C + c + i] = kept[i];
}

enum class Sums { none, shared, global };

/// Three blocks a multiprocessor leave a thread 80 registers; without a number ptxas saves more of them, and spills.
/// `sums` (pieces, C) receives the pieces' dw; where they do not fit shared memory, it is also where they are kept.
template <class T, int N, Sums kSums>
__global__ __launch_bounds__(kThreads, 3) void backward(RmsNormBackwardArgs args, int64_t rows_per_piece, void* sums) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const Shared<A> scratch = arena.take<A>(2 * (kThreads / kWarp));
  const int C = static_cast<int>(args.C), step = kThreads * N, mine = thread_index().x * N;
  A* const piece_sums = static_cast<A*>(sums) + static_cast<int64_t>(block_index().x) * C;
  const auto kept = [&] {
    if constexpr (kSums == Sums::shared)
      return arena.take<A>(C);
    else
      return piece_sums;
  }();
  if constexpr (kSums != Sums::none)
    for (int c = mine; c < C; c += step)
      for (int i = 0; i < N; ++i) kept[c + i] = 0;
  const T* w = static_cast<const T*>(args.weight);
  const int64_t begin = block_index().x * rows_per_piece;
  const int64_t end = begin + rows_per_piece < args.rows ? begin + rows_per_piece : args.rows;
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(args.x) + row * C;
    const T* grad = static_cast<const T*>(args.grad) + row * C;
    const A r = static_cast<const A*>(args.inverse_rms)[row];
    A dot = 0;
    for (int c = mine; c < C; c += step) {
      const auto values = load_vec<N>(x + c), dy = load_vec<N>(grad + c), weights = load_vec<N>(w + c);
      for (int i = 0; i < N; ++i) {
        const A value = convert_element<A>(values.at[i]), slope = convert_element<A>(dy.at[i]);
        dot += slope * convert_element<A>(weights.at[i]) * value;
        if constexpr (kSums != Sums::none) kept[c + i] = std::fma(slope * value, r, A{kept[c + i]});
      }
    }
    if (args.grad_x == nullptr) continue;
    // Two scratches in turns: the next row may write one while slower warps still read the other.
    const A along = block_sum(dot, scratch + static_cast<int>((row - begin) % 2) * (kThreads / kWarp)) * (r * r) /
                    static_cast<A>(C);
    T* grad_x = static_cast<T*>(args.grad_x) + row * C;
    for (int c = mine; c < C; c += step) {
      const auto values = load_vec<N>(x + c), dy = load_vec<N>(grad + c), weights = load_vec<N>(w + c);
      A slope[N];
      for (int i = 0; i < N; ++i)
        slope[i] = (convert_element<A>(dy.at[i]) * convert_element<A>(weights.at[i]) -
                    convert_element<A>(values.at[i]) * along) *
                   r;
      if (args.grad_residual != nullptr) {
        const auto residual = load_vec<N>(static_cast<const T*>(args.grad_residual) + row * C + c);
        for (int i = 0; i < N; ++i) slope[i] += convert_element<A>(residual.at[i]);
      }
      Vec<T, N> out;
      for (int i = 0; i < N; ++i) out.at[i] = round_to<T>(slope[i]);
      store_vec(grad_x + c, out);
    }
  }
  if constexpr (kSums == Sums::shared)
    for (int c = mine; c < C; c += step)
      for (int i = 0; i < N; ++i) piece_sums[c + i] = kept[c + i];
}

/// out[c] = sum over pieces of sums[piece, c]: so many loads are under way at once that it takes few latencies.
constexpr int kAddWarps = 32;

template <class A>
__global__ __launch_bounds__(kAddWarps* kWarp) void add_pieces(int64_t pieces, int64_t C, const A* sums, A* out) {
  SharedArena arena;
  const Shared<A> of_warps = arena.take<A>(kAddWarps * kWarp);
  const int64_t c = static_cast<int64_t>(block_index().x) * kWarp + lane_index();
  A total = 0;
  if (c < C)
#pragma unroll 8
    for (int64_t piece = warp_index(); piece < pieces; piece += warp_count()) total += sums[piece * C + c];
  of_warps[thread_index().x] = total;
  sync_block();
  if (warp_index() > 0 || c >= C) return;
  for (int warp = 1; warp < warp_count(); ++warp) total += of_warps[warp * kWarp + lane_index()];
  out[c] = total;
}

template <class T, int N>
void run_backward(const RmsNormBackwardArgs& args, Stream stream) {
  using A = accumulate_t<T>;
  constexpr size_t kMostShared = 96 << 10;  // two blocks of a multiprocessor have that much each
  const int64_t rows = rows_per_piece(args), pieces = (args.rows + rows - 1) / rows;
  const size_t scratch = shared_size<A>(2 * (kThreads / kWarp)), kept = shared_size<A>(args.C);
  if (args.grad_weight == nullptr)
    return launch({"rms_norm_backward", pieces, kThreads, scratch, stream}, backward<T, N, Sums::none>, args, rows,
                  nullptr);
  const Scratch<A> sums(pieces * args.C, stream);
  if (args.C <= kThreads * N)
    launch({"rms_norm_backward", pieces, kThreads, scratch, stream}, backward_held<T, N>, args, rows, sums.get());
  else if (kept <= kMostShared)
    launch({"rms_norm_backward", pieces, kThreads, scratch + kept, stream}, backward<T, N, Sums::shared>, args, rows,
           sums.get());
  else
    launch({"rms_norm_backward", pieces, kThreads, scratch, stream}, backward<T, N, Sums::global>, args, rows,
           sums.get());
  const int threads = static_cast<int>(std::clamp<int64_t>(pieces, 1, kAddWarps)) * kWarp;
  launch({"rms_norm_add_pieces", (args.C + kWarp - 1) / kWarp, threads, shared_size<A>(kAddWarps * kWarp), stream},
         add_pieces<A>, pieces, args.C, sums.get(), static_cast<A*>(args.grad_weight));
}

}  // namespace

void rms_norm_forward(const RmsNormArgs& args, Stream stream) {
  visit_float(args.dtype, "rms_norm", [&]<class T>() {
    const Launch how{.kernel = "rms_norm_forward",
                     .grid_x = args.rows,
                     .block_x = kThreads,
                     .shared_bytes = shared_size<accumulate_t<T>>(kThreads / kWarp),
                     .stream = stream,
                     .start = Start::early};
    const double share = 1 / static_cast<double>(args.C);
    if (is_vectorisable<T>(args.C, args.x, args.weight, args.y))
      launch(how, forward<T, kPerVec<T>>, args, share);
    else
      launch(how, forward<T, 1>, args, share);
  });
}

void rms_norm_backward(const RmsNormBackwardArgs& args, Stream stream) {
  visit_float(args.dtype, "rms_norm", [&]<class T>() {
    if (is_vectorisable<T>(args.C, args.x, args.weight, args.grad, args.grad_residual, args.grad_x))
      run_backward<T, kPerVec<T>>(args, stream);
    else
      run_backward<T, 1>(args, stream);
  });
}

}  // namespace ratel::cuda
