// A linear layer with norm, activation and residual for a few rows on a GPU. A warp has R rows of the weight, which it
// reads once, 16 bytes a lane, and multiplies with all rows of x: a stretch of them, times the norm's weight, lies in
// shared memory as f32, and their squares are added while it is put there. The norm itself is a factor of each row, so
// that it is applied to the sums. Lanes exchange what they have of each other's results, and each finishes its own.
//
// Of the weight a lane has the next vectors under way while it multiplies; the first are asked for before it waits for
// the kernel before this one, which writes x and no weight. For one row these are 128 bytes, so that two blocks of a
// multiprocessor have the 64 KB on the way that a copy's rate takes.
//
// Bytes: N K elements of the weight, beside which each block reads x from the cache. Bound by memory for one row and a
// few, by products with more; several rows of bf16 go to the tensor cores: fused_linear_tensor_core.cu. Measured on an
// H100 when the first vectors waited for x, one row of bf16: N x K of 10240 x 2048 20 us (a copy's rate would allow
// 14), 2048 x 2048 8 (2.8), 8192 x 2048 17 (11), 2048 x 8192 19 (11).

#include "cuda/fused_linear_parts.h"
#include "cuda/packed.h"

namespace ratel::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;

/// For M rows of x in vectors of N: rows of the weight a warp, where there are many; a layer with fewer than kManyRows
/// would not fill the multiprocessors with two of them a warp.
template <int M, int N>
inline constexpr int kRows = M == 1 || N == 1 ? 2 : 4;
constexpr int64_t kManyRows = 4096;

/// Of each of R rows of the weight, vectors that a lane has under way.
template <int M, int R>
inline constexpr int kAhead = M == 1 ? 8 / R : 1;

/// Columns of x in shared memory at a time: 32 KiB or 16, whole steps of a warp.
template <class A, int M>
inline constexpr int kStretch = M == 1 ? 4096 : 32768 / (M * static_cast<int>(sizeof(A)));

/// Where vectors of N columns of M rows lie: in pieces of 16 bytes, those of neighbouring vectors together, so that a
/// warp reads them from different banks.
template <class A, int M, int N>
class Stretch {
  static constexpr int kPiece = N < kPerVec<A> ? N : kPerVec<A>, kColumns = kStretch<A, M>;

 public:
  static constexpr int kSize = M * kColumns;
  __device__ explicit Stretch(SharedArena& arena) : data_(arena.take<A>(kSize)) {}
  __device__ void put(int row, int column, const A (&values)[N]) const {
    for (int i = 0; i < N; i += kPiece) {
      Vec<A, kPiece> piece;
      for (int j = 0; j < kPiece; ++j) piece.at[j] = values[i + j];
      data_.store(at(row, column, i), piece);
    }
  }
  __device__ void get(int row, int column, A (&values)[N]) const {
    for (int i = 0; i < N; i += kPiece) {
      const auto piece = data_.template load<kPiece>(at(row, column, i));
      for (int j = 0; j < kPiece; ++j) values[i + j] = piece.at[j];
    }
  }

 private:
  __device__ static int at(int row, int column, int i) {
    return row * kColumns + i / kPiece * (kColumns / N * kPiece) + column / N * kPiece;
  }
  Shared<A> data_;
};

/// Blocks of a multiprocessor at least, which leave a thread 80 registers, 128, or 255.
template <class T, int M, int N>
inline constexpr int kBlocks = M == kFewFusedRows&& N > 1 ? 1
                               : M == 1 && sizeof(T) == 2 ? 3
                                                          : 2;

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

template <class T, int M, int N, int R>
__global__ __launch_bounds__(kThreads, (kBlocks<T, M, N>)) void few_rows(FusedLinearArgs args) {
  using A = accumulate_t<T>;
  constexpr int kStep = kWarp * N, kColumns = kStretch<A, M>, kSteps = kAhead<M, R>;
  static_assert(kColumns % (kStep * kSteps) == 0);
  SharedArena arena;
  const Stretch<A, M, N> stretch(arena);
  const Shared<A> squares = arena.take<A>(M * kWarps);
  const int K = static_cast<int>(args.K), rows = static_cast<int>(args.rows);
  const int64_t first = (static_cast<int64_t>(block_index().x) * kWarps + warp_index()) * R;
  const T *x = static_cast<const T*>(args.x), *norm = static_cast<const T*>(args.norm_weight), *weight[R];
  for (int r = 0; r < R; ++r)
    weight[r] = static_cast<const T*>(args.weight) + (first + r < args.N ? first + r : args.N - 1) * K;

  Packed<T, N> ahead[kSteps][R];
  const auto ask_for_weight = [&](Packed<T, N>(&to)[R], int c) {
    if (c < K)
      for (int r = 0; r < R; ++r) to[r] = load_packed<N>(weight[r] + c);
  };
  let_next_begin();
#pragma unroll
  for (int step = 0; step < kSteps; ++step) ask_for_weight(ahead[step], lane_index() * N + step * kStep);
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
        stretch.put(m, c, values);
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
    for (int first_column = lane_index() * N; first_column < columns; first_column += kSteps * kStep)
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const int c = first_column + step * kStep;
        if (c < columns)
#pragma unroll
          for (int m = 0; m < M; ++m) {
            A values[N];
            stretch.get(m, c, values);
#pragma unroll
            for (int r = 0; r < R; ++r) {
              const auto w = unpack<T, N>(ahead[step][r]);
              for (int i = 0; i < N; ++i) sums[r * M + m] += values[i] * w.at[i];
            }
          }
        ask_for_weight(ahead[step], begin + c + kSteps * kStep);
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

template <class T, int M, int N, int R>
void run(const FusedLinearArgs& args, Stream stream) {
  using A = accumulate_t<T>;
  constexpr int64_t kRowsOfBlock = int64_t{kWarps} * R;
  launch({.kernel = "fused_linear",
          .grid_x = (args.N + kRowsOfBlock - 1) / kRowsOfBlock,
          .block_x = kThreads,
          .shared_bytes = shared_size<A>(Stretch<A, M, N>::kSize) + shared_size<A>(M * kWarps),
          .stream = stream,
          .start = Start::early},
         few_rows<T, M, N, R>, args);
}

template <class T, int M, int N>
void run(const FusedLinearArgs& args, Stream stream) {
  if constexpr (M == 1)
    if (args.N < kManyRows) return run<T, M, N, 1>(args, stream);
  run<T, M, N, kRows<M, N>>(args, stream);
}

}  // namespace

void fused_linear(const FusedLinearArgs& args, Stream stream) {
  visit_float(args.dtype, "fused_linear", [&]<class T>() {
    constexpr int N = kPerVec<T>;
    if (!is_vectorisable<T>(args.K, args.x, args.weight, args.norm_weight))
      return run<T, kFewFusedRows, 1>(args, stream);
    if (args.rows == 1) return run<T, 1, N>(args, stream);
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
