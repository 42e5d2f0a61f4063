// A linear layer with norm, activation and residual for a few rows on a GPU. A warp has R rows of the weight, which it
// reads once, 16 bytes a lane, and multiplies with all rows of x: a stretch of them, times the norm's weight, lies in
// shared memory as f32, and their squares are added while it is put there. The norm itself is a factor of each row, so
// that it is applied to the sums. Lanes exchange what they have of each other's results, and each finishes its own. A
// lane asks for the next vectors of the weight where it multiplies, and for the first before it waits for the kernel
// before this one, which writes x and no weight.
//
// Bytes: N K elements of the weight, beside which each block reads x from the cache. Bound by products. One row is
// fused_linear_one_row.cu's, several of bf16 go to the tensor cores: fused_linear_tensor_core.cu.

#include "cuda/fused_linear_parts.h"
#include "cuda/packed.h"

namespace ratel::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;

/// In vectors of N: rows of the weight a warp.
template <int N>
inline constexpr int kRows = N == 1 ? 2 : 4;

/// Columns of x in shared memory at a time: 32 KiB, whole steps of a warp.
template <class A, int M>
inline constexpr int kStretch = 32768 / (M * static_cast<int>(sizeof(A)));

/// Blocks of a multiprocessor at least, which leave a thread 128 registers, or 255.
template <int M, int N>
inline constexpr int kBlocks = M == kFewFusedRows&& N > 1 ? 1 : 2;

/// The sums over a warp of n values a lane, spread over it: afterwards values[0] and on of lane l are the results
/// first_result<n>(l) and on. Halves of the lanes exchange halves of the values, so that n values take n shuffles and
/// not 5 n; where one is left, all keep it.
template <class A, int n, int kStep = kWarp / 2, int kKeep = n / 2>
__device__ void spread_warp_sums(A (&values)[n]) {
  const bool is_upper = (lane_index() & kStep) != 0;
  if (kKeep == 0) values[0] += shuffle_xor(values[0], kStep);
#pragma unroll
  for (int i = 0; i < kKeep; ++i) {
    const A given = is_upper ? values[i] : values[i + kKeep], own = is_upper ? values[i + kKeep] : values[i];
    values[i] = own + shuffle_xor(given, kStep);
  }
  if constexpr (kStep > 1) spread_warp_sums<A, n, kStep / 2, kKeep / 2>(values);
}
template <int n>
__device__ int first_result(int lane) {
  return n >= kWarp ? lane * (n / kWarp) : lane / (kWarp / n);
}

template <class T, int M, int N>
__global__ __launch_bounds__(kThreads, (kBlocks<M, N>)) void few_rows(FusedLinearArgs args) {
  using A = accumulate_t<T>;
  constexpr int R = kRows<N>, kStep = kWarp * N, kColumns = kStretch<A, M>;
  static_assert(kColumns % kStep == 0);
  SharedArena arena;
  const VectorRows<A, N> stretch(arena, M, kColumns / N);
  const Shared<A> squares = arena.take<A>(M * kWarps);
  const int K = static_cast<int>(args.K), rows = static_cast<int>(args.rows);
  const int64_t first = (static_cast<int64_t>(block_index().x) * kWarps + warp_index()) * R;
  const T *x = static_cast<const T*>(args.x), *norm = static_cast<const T*>(args.norm_weight), *weight[R];
  for (int r = 0; r < R; ++r)
    weight[r] = static_cast<const T*>(args.weight) + (first + r < args.N ? first + r : args.N - 1) * K;

  Packed<T, N> ahead[R];
  const auto ask_for_weight = [&](int c) {
    if (c < K)
      for (int r = 0; r < R; ++r) ahead[r] = load_packed<N>(weight[r] + c);
  };
  let_next_begin();
  ask_for_weight(lane_index() * N);
  wait_for_previous();

  // A lane finishes one or two of the warp's R x M results.
  constexpr int kResults = R * M, kMine = (kResults + kWarp - 1) / kWarp;
  static_assert(kMine <= 2 && (kResults & (kResults - 1)) == 0);
  const int place = first_result<kResults>(lane_index());
  T residual[kMine];
  for (int i = 0; i < kMine; ++i) residual[i] = residual_of<T>(args, (place + i) % M, first + (place + i) / M);

  A sums[kResults] = {}, square[M] = {};
  for (int begin = 0; begin < K; begin += kColumns) {
    const int columns = K - begin < kColumns ? K - begin : kColumns;
    sync_block();  // all have read the stretch before
    for (int c = thread_index().x * N; c < columns; c += kThreads * N) {
      A factor[N];
      for (A& f : factor) f = 1;
      if (norm != nullptr) {
        const auto weights = load_vec<N>(norm + begin + c);
        for (int i = 0; i < N; ++i) factor[i] = convert_element<A>(weights.at[i]);
      }
#pragma unroll
      for (int m = 0; m < M; ++m) {
        A values[N] = {};
        if (m < rows) {
          const auto in = load_vec<N>(x + int64_t{m} * K + begin + c);
          for (int i = 0; i < N; ++i) {
            values[i] = convert_element<A>(in.at[i]);
            square[m] += values[i] * values[i];
            values[i] *= factor[i];
          }
        }
        stretch.put(m, c / N, values);
      }
    }
    if (columns == K - begin) {  // the last one: the squares are complete
#pragma unroll
      for (int m = 0; m < M; ++m) {
        const A all = warp_sum(square[m]);
        if (lane_index() == 0) squares[m * kWarps + warp_index()] = all;
      }
    }
    sync_block();
    for (int c = lane_index() * N; c < columns; c += kStep) {
#pragma unroll
      for (int m = 0; m < M; ++m) {
        A values[N];
        stretch.get(m, c / N, values);
#pragma unroll
        for (int r = 0; r < R; ++r) {
          const auto w = unpack<T, N>(ahead[r]);
          for (int i = 0; i < N; ++i) sums[r * M + m] += values[i] * w.at[i];
        }
      }
      ask_for_weight(begin + c + kStep);
    }
  }

  spread_warp_sums(sums);
  if (kResults < kWarp && lane_index() % (kWarp / kResults) != 0) return;
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    const int m = (place + i) % M;
    A y = sums[i];
    if (norm != nullptr) {
      double total = 0;
      for (int warp = 0; warp < kWarps; ++warp) total += A{squares[m * kWarps + warp]};
      y *= norm_factor<A>(args, total);
    }
    finish_product<T>(args, m, first + (place + i) / M, y, residual[i]);
  }
}

template <class T, int M, int N>
void run(const FusedLinearArgs& args, Stream stream) {
  using A = accumulate_t<T>;
  constexpr int64_t kRowsOfBlock = int64_t{kWarps} * kRows<N>;
  launch({.kernel = "fused_linear",
          .grid_x = (args.N + kRowsOfBlock - 1) / kRowsOfBlock,
          .block_x = kThreads,
          .shared_bytes = shared_size<A>(M * kStretch<A, M>) + shared_size<A>(M * kWarps),
          .stream = stream,
          .start = Start::early},
         few_rows<T, M, N>, args);
}

}  // namespace

void fused_linear(const FusedLinearArgs& args, Stream stream) {
  if (fused_linear_one_row(args, stream)) return;
  visit_float(args.dtype, "fused_linear", [&]<class T>() {
    constexpr int N = kPerVec<T>;
    if (!is_vectorisable<T>(args.K, args.x, args.weight, args.norm_weight))
      return run<T, kFewFusedRows, 1>(args, stream);
    if constexpr (std::is_same_v<T, bfloat16>) {
      fused_linear_tensor_core(args, stream);
    } else {
      if (args.rows <= 4) return run<T, 4, N>(args, stream);
      if (args.rows <= 8) return run<T, 8, N>(args, stream);
      run<T, kFewFusedRows, N>(args, stream);
    }
  });
}

}  // namespace ratel::cuda
