// Embedding on a GPU.
//   forward   a block a row: copies it at 16 bytes a thread, 4 C bytes an id in bf16; bound by memory
//   backward  the positions are put into the order of their ids, stably and without atomics, then a block owns 8 rows
//             of the table and 32 vectors of their channels and adds the gradient's rows in that order, a warp those of
//             an id with few positions, the block those of one with many: 4 V C + 2 n C bytes in bf16, bound by memory,
//             and where one id has most positions by the 8 chains of additions of a block
//
// The order: positions are cut into at most 64 chunks, a block each, which counts its ids; the counts become places by
// prefix sums over the ids, and within an id over the chunks; then the chunks put their positions there.

#include "ops/embedding.h"

#include <algorithm>

#include "cuda/device.h"
#include "cuda/scratch.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kMostChunks = 64;

template <class T, int N>
__global__ __launch_bounds__(kThreads) void forward(EmbeddingArgs args) {
  const int64_t row = block_index().x;
  const T* from = static_cast<const T*>(args.weight) + args.ids[row] * args.C;
  T* into = static_cast<T*>(args.out) + row * args.C;
  for (int64_t c = static_cast<int64_t>(thread_index().x) * N; c < args.C; c += kThreads * N)
    store_vec(into + c, load_vec<N>(from + c));
}

__global__ __launch_bounds__(kThreads) void set_zero(int64_t n, int64_t* counts) {
  for (int64_t i = global_thread(); i < n; i += global_threads()) counts[i] = 0;
}

/// Walks a chunk a blockful of positions at a time. place[id] (V of the chunk) counts the chunk's positions of an id so
/// far; put(position, count before it) is called for each.
template <class Put>
__device__ void walk_chunk(int64_t n, int64_t chunk, const int64_t* ids, int64_t* place, Put&& put) {
  SharedArena arena;
  const Shared<int64_t> window = arena.take<int64_t>(kThreads);
  const int mine = thread_index().x;
  const int64_t begin = block_index().x * chunk, end = begin + chunk < n ? begin + chunk : n;
  for (int64_t first = begin; first < end; first += kThreads) {
    const int64_t position = first + mine;
    const int64_t id = position < end ? ids[position] : -1;
    window[mine] = id;
    sync_block();
    int before = 0, after = 0;
    for (int other = 0; other < kThreads; ++other) {
      const bool same = window[other] == id;
      before += same && other < mine;
      after += same && other > mine;
    }
    const int64_t count = id < 0 ? 0 : place[id] + before;
    sync_block();  // all have read their place
    if (id < 0) continue;
    put(position, count);
    if (after == 0) place[id] = count + 1;
    // The next blockful reads places behind its first barrier.
  }
}

__global__ __launch_bounds__(kThreads) void count_ids(int64_t n, int64_t V, int64_t chunk, const int64_t* ids,
                                                      int64_t* places) {
  walk_chunk(n, chunk, ids, places + block_index().x * V, [](int64_t, int64_t) {});
}

/// counts (chunks, V) become the count of an id in the chunks before; totals (V) that in all.
__global__ __launch_bounds__(kThreads) void add_chunks(int64_t chunks, int64_t V, int64_t* counts, int64_t* totals) {
  const int64_t id = global_thread();
  if (id >= V) return;
  int64_t total = 0;
  for (int64_t c = 0; c < chunks; ++c) {
    const int64_t count = counts[c * V + id];
    counts[c * V + id] = total;
    total += count;
  }
  totals[id] = total;
}

/// begins[id] = sum of totals before id, and begins[V] = n: one block, each thread a stretch of ids.
__global__ __launch_bounds__(kThreads) void begin_ids(int64_t V, const int64_t* totals, int64_t* begins) {
  SharedArena arena;
  const Shared<int64_t> sums = arena.take<int64_t>(kThreads);
  const int64_t stretch = (V + kThreads - 1) / kThreads, first = thread_index().x * stretch;
  const int64_t last = first + stretch < V ? first + stretch : V;
  int64_t sum = 0;
  for (int64_t id = first; id < last; ++id) sum += totals[id];
  sums[thread_index().x] = sum;
  sync_block();
  int64_t before = 0;
  for (int other = 0; other < thread_index().x; ++other) before += sums[other];
  for (int64_t id = first; id < last; ++id) {
    begins[id] = before;
    before += totals[id];
  }
  if (thread_index().x == kThreads - 1) begins[V] = before;
}

__global__ __launch_bounds__(kThreads) void order_positions(int64_t n, int64_t V, int64_t chunk, const int64_t* ids,
                                                            const int64_t* begins, int64_t* places, int64_t* order) {
  walk_chunk(n, chunk, ids, places + block_index().x * V,
             [&](int64_t position, int64_t count) { order[begins[ids[position]] + count] = position; });
}

/// Positions of an id that a warp alone adds.
constexpr int64_t kFewPositions = 32;

/// A warp's lanes hold N channels each. Of an id with many positions, the block's warps take them in turns, and their
/// sums are added in order.
template <class T, int N>
__global__ __launch_bounds__(kThreads) void sum_rows(int64_t V, int64_t C, const T* grad, const int64_t* begins,
                                                     const int64_t* order, accumulate_t<T>* table) {
  using A = accumulate_t<T>;
  constexpr int kPiece = N < kPerVec<A> ? N : kPerVec<A>;
  SharedArena arena;
  const Shared<A> sums = arena.take<A>(kWarps * kWarp * N);
  const int64_t stripe = static_cast<int64_t>(block_index().y) * kWarp * N, c = stripe + lane_index() * N;
  const auto add = [&](int64_t begin, int64_t end, int64_t step, A(&sum)[N]) {
    if (c >= C) return;
    for (int64_t i = begin; i < end; i += step) {
      const auto values = load_vec<N>(grad + order[i] * C + c);
      for (int k = 0; k < N; ++k) sum[k] += convert_element<A>(values.at[k]);
    }
  };
  const int64_t first = static_cast<int64_t>(block_index().x) * kWarps, own = first + warp_index();
  if (own < V && begins[own + 1] - begins[own] <= kFewPositions) {
    A sum[N] = {};
    add(begins[own], begins[own + 1], 1, sum);
    if (c < C)
      for (int k = 0; k < N; k += kPiece) {
        Vec<A, kPiece> piece;
        for (int j = 0; j < kPiece; ++j) piece.at[j] = sum[k + j];
        store_vec(table + own * C + c + k, piece);
      }
  }
  for (int64_t id = first; id < first + kWarps && id < V; ++id) {
    const int64_t begin = begins[id], end = begins[id + 1];
    if (end - begin <= kFewPositions) continue;
    A sum[N] = {};
    add(begin + warp_index(), end, kWarps, sum);
    sync_block();  // all have read the sums of the id before
    for (int k = 0; k < N; ++k) sums[(warp_index() * N + k) * kWarp + lane_index()] = sum[k];
    sync_block();
    // The channels are dealt to the threads anew: k-major, as they were written.
    for (int at = thread_index().x; at < N * kWarp; at += kThreads) {
      const int64_t channel = stripe + static_cast<int64_t>(at % kWarp) * N + at / kWarp;
      if (channel >= C) continue;
      A total = 0;
      for (int warp = 0; warp < kWarps; ++warp) total += sums[warp * N * kWarp + at];
      table[id * C + channel] = total;
    }
  }
}

template <class T, int N>
void sum_into_table(const EmbeddingBackwardArgs& args, const int64_t* begins, const int64_t* order, Stream stream) {
  using A = accumulate_t<T>;
  constexpr int kWidth = kWarp * N;
  launch({"embedding_sum_rows", (args.V + kWarps - 1) / kWarps, kThreads, shared_size<A>(kWarps * kWidth), stream,
          (args.C + kWidth - 1) / kWidth},
         sum_rows<T, N>, args.V, args.C, static_cast<const T*>(args.grad), begins, order,
         static_cast<A*>(args.grad_weight));
}

}  // namespace

void embedding_forward(const EmbeddingArgs& args, Stream stream) {
  if (args.n == 0 || args.C == 0) return;
  visit_float(args.dtype, "embedding", [&]<class T>() {
    const Launch how{"embedding_forward", args.n, kThreads, 0, stream};
    if (is_vectorisable<T>(args.C, args.weight, args.out))
      launch(how, forward<T, kPerVec<T>>, args);
    else
      launch(how, forward<T, 1>, args);
  });
}

void embedding_backward(const EmbeddingBackwardArgs& args, Stream stream) {
  if (args.V == 0 || args.C == 0) return;
  // Whole blockfuls; at least one chunk, so that an empty list of ids has its counts, too.
  const int64_t blockfuls = (args.n + kThreads - 1) / kThreads;
  const int64_t chunk = std::max<int64_t>((blockfuls + kMostChunks - 1) / kMostChunks, 1) * kThreads;
  const int64_t chunks = std::max<int64_t>((args.n + chunk - 1) / chunk, 1);
  const Scratch<int64_t> places(chunks * args.V, stream), totals(args.V, stream), begins(args.V + 1, stream);
  const Scratch<int64_t> order(std::max<int64_t>(args.n, 1), stream);
  const size_t window = shared_size<int64_t>(kThreads);
  launch({"embedding_zero", blocks_for(chunks * args.V, kThreads), kThreads, 0, stream}, set_zero, chunks * args.V,
         places.get());
  launch({"embedding_count", chunks, kThreads, window, stream}, count_ids, args.n, args.V, chunk, args.ids,
         places.get());
  launch({"embedding_add_chunks", (args.V + kThreads - 1) / kThreads, kThreads, 0, stream}, add_chunks, chunks, args.V,
         places.get(), totals.get());
  launch({"embedding_begins", 1, kThreads, window, stream}, begin_ids, args.V, totals.get(), begins.get());
  launch({"embedding_order", chunks, kThreads, window, stream}, order_positions, args.n, args.V, chunk, args.ids,
         begins.get(), places.get(), order.get());
  visit_float(args.dtype, "embedding", [&]<class T>() {
    if (is_vectorisable<T>(args.C, args.grad, args.grad_weight))
      sum_into_table<T, kPerVec<T>>(args, begins.get(), order.get(), stream);
    else
      sum_into_table<T, 1>(args, begins.get(), order.get(), stream);
  });
}

}  // namespace ratel::cuda
