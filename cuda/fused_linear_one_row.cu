// A linear layer with norm, activation and residual for one row of x on a GPU. There is a block for every
// multiprocessor; each of its warps takes pairs of rows of the weight, one after the other, as if they were one long
// row. What a lane multiplies it brings itself, 16 bytes at a time, through a ring in shared memory that no other lane
// reads: nothing waits for a barrier but x, which lies beside it as f32, times the norm's weight.
//
// The ring is filled before the block waits for the kernel before this one, which writes x and no weight. Two kernels
// of a chain lie on a multiprocessor at once, where neither x is longer than some 8000 numbers, so that memory has 80
// KB to bring for each while the one's results go to the other. Blocks that come and go, of which each asks anew, left
// it idle; asking the cache of all multiprocessors for the weight ahead of them cost more than it gave.
//
// Bytes: N K elements of the weight. Bound by memory: at a copy's rate a multiprocessor of an H100 takes 23 bytes a
// nanosecond, of which it is given by 27 KB under way; the products issue in a sixth of that time. Measured
// there in a decoding step, from the end of the kernel before to its own, in bf16: N x K of 10240 x 2048 14.1 us (a
// copy's rate would allow 14.0), 8192 x 2048 13.1 and 2048 x 8192 12.9 (11.2), 2048 x 2048 2.3, as most of it had come.
// With nothing before it: 19.7, 16.2, 16.9 and 9.5.

#include <bit>

#include "cuda/fused_linear_parts.h"
#include "cuda/packed.h"
#include "cuda/runtime.h"

namespace ratel::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp, kRows = 2;  // rows of the weight that a warp has at once
constexpr int kRing = 10;                                        // steps under way, each of 16 bytes of each row

/// Vectors of N that a row of K is kept as: zeros follow up to a whole step of a warp.
template <int N, class I>
__host__ __device__ I vectors_of(I K) {
  return (K + kWarp * N - 1) / (kWarp * N) * kWarp;
}

template <class T>
__global__ __launch_bounds__(kThreads, 2) void one_row(FusedLinearArgs args) {
  using A = accumulate_t<T>;
  constexpr int N = kPerVec<T>, kStep = kWarp * N;
  SharedArena arena;
  const int K = static_cast<int>(args.K), steps = (K + kStep - 1) / kStep, lane = lane_index();
  const Shared<T> ring = arena.take<T>(kRing * kRows * kThreads * N);
  const int vectors = vectors_of<N>(K);
  const VectorRows<A, N> x_row(arena, 1, vectors);
  const Shared<A> squares = arena.take<A>(kWarps);

  // The warp's pairs of rows: from the block's share on every kWarps-th.
  const int64_t pairs = (args.N + kRows - 1) / kRows;
  const int64_t end = pairs * (block_index().x + 1) / grid_size().x;
  int64_t pair = pairs * block_index().x / grid_size().x + warp_index();
  // What is asked for next: a step of a pair.
  int64_t asked_pair = pair;
  int asked_step = 0, asked_slot = 0;
  const auto place = [&](int slot, int row) { return ((slot * kRows + row) * kThreads + thread_index().x) * N; };
  const auto ask = [&] {
    if (asked_pair < end) {
      const int c = asked_step * kStep + lane * N;
      for (int r = 0; r < kRows; ++r) {
        const int64_t row = asked_pair * kRows + r;
        const bool is_there = c < K && row < args.N;
        copy_async_16(ring, place(asked_slot, r), static_cast<const T*>(args.weight) + (is_there ? row * K + c : 0),
                      is_there);
      }
    }
    commit_copies();
    if (++asked_step == steps) {
      asked_step = 0;
      asked_pair += kWarps;
    }
    if (++asked_slot == kRing) asked_slot = 0;
  };
  let_next_begin();
  for (int i = 0; i < kRing; ++i) ask();
  wait_for_previous();

  const T *x = static_cast<const T*>(args.x), *norm = static_cast<const T*>(args.norm_weight);
  A square = 0;
  for (int vector = thread_index().x; vector < vectors; vector += kThreads) {
    A values[N] = {};
    if (vector * N < K) {
      const auto in = load_vec<N>(x + vector * N);
      for (int i = 0; i < N; ++i) {
        values[i] = convert_element<A>(in.at[i]);
        square += values[i] * values[i];
      }
      if (norm != nullptr) {
        const auto weights = load_vec<N>(norm + vector * N);
        for (int i = 0; i < N; ++i) values[i] *= convert_element<A>(weights.at[i]);
      }
    }
    x_row.put(0, vector, values);
  }
  square = warp_sum(square);
  if (lane == 0) squares[warp_index()] = square;
  sync_block();
  A factor = 1;
  if (norm != nullptr) {
    double total = 0;
    for (int warp = 0; warp < kWarps; ++warp) total += A{squares[warp]};
    factor = norm_factor<A>(args, total);
  }

  for (int slot = 0; pair < end; pair += kWarps) {
    const int64_t row = pair * kRows + lane;  // a lane finishes a row
    const T residual = lane < kRows ? residual_of<T>(args, 0, row) : T{};
    A sums[kRows] = {};
    for (int step = 0; step < steps; ++step) {
      wait_copies<kRing - 1>();
      A values[N];
      x_row.get(0, step * kWarp + lane, values);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const auto w = unpack<T, N>(std::bit_cast<Packed<T, N>>(ring.template load<N>(place(slot, r))));
        for (int i = 0; i < N; ++i) sums[r] += values[i] * w.at[i];
      }
      ask();
      if (++slot == kRing) slot = 0;
    }
    for (A& sum : sums) sum = factor * warp_sum(sum);
    if (lane < kRows) finish_product<T>(args, 0, row, lane == 0 ? sums[0] : sums[1], residual);
  }
}

}  // namespace

bool fused_linear_one_row(const FusedLinearArgs& args, Stream stream) {
  return visit_float(args.dtype, "fused_linear", [&]<class T>() {
    using A = accumulate_t<T>;
    constexpr int N = kPerVec<T>;
    const size_t shared = shared_size<T>(kRing * kRows * kThreads * N) + shared_size<A>(vectors_of<N>(args.K) * N) +
                          shared_size<A>(kWarps);
    if (args.rows != 1 || !is_vectorisable<T>(args.K, args.x, args.weight, args.norm_weight) ||
        shared > shared_bytes_of(stream.device))
      return false;
    const int64_t pairs = (args.N + kRows - 1) / kRows, most = multiprocessors_of(stream.device);
    launch({.kernel = "fused_linear",
            .grid_x = pairs < most ? pairs : most,
            .block_x = kThreads,
            .shared_bytes = shared,
            .stream = stream,
            .start = Start::early,
            .division = Division::shared},
           one_row<T>, args);
    return true;
  });
}

}  // namespace ratel::cuda
