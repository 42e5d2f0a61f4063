// Attention over top-k blocks on a GPU, for any dtype, width and layout.
//
//   summaries   a block of threads takes a block of keys, a thread a channel: the sum (mean), or least and greatest
//               (minmax). Reads the keys once. Of the last token there is nothing to do.
//   attention   a warp takes a query (block_query.h), and the next one when it is done. In bf16, of 64 or 128 channels,
//               tiles of queries on the tensor cores instead (block_tiles.h).
//
// Heads of dilated patterns beside them go to the kernels of dilated_attention, neighbours in one launch.
//
// A query reads T / (2 D) rows of summaries and K D keys and values, most of them from the second-level cache, since
// its neighbours choose alike: bound by that. The list of a query's scores is as long as there are blocks; there is one
// a warp that runs, so that memory is linear in T.

#include "ops/block_attention.h"

#include "cuda/block_query.h"
#include "cuda/block_tiles.h"
#include "cuda/scratch.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

/// Heads of top-k blocks, so many as travel with one launch.
struct BlockHeads {
  int count = 0, head[kHeadsPerLaunch] = {};
  Pattern patterns[kHeadsPerLaunch];
  int64_t summaries_before[kHeadsPerLaunch] = {};  // elements, of all of the batch
};

int64_t blocks_of(const Pattern& pattern, int64_t T) { return T / pattern.dilation; }
/// Elements of a block's summary.
int64_t summary_width(const Pattern& pattern, int64_t d) {
  return pattern.score == BlockScore::last ? 0 : pattern.score == BlockScore::mean ? d : 2 * d;
}

template <class T>
__global__ __launch_bounds__(kThreads) void summaries_kernel(BlockAttentionArgs args, BlockHeads heads,
                                                             int64_t most_blocks, accumulate_t<T>* summaries) {
  using A = accumulate_t<T>;
  for (int64_t item = block_index().x; item < args.B * heads.count * most_blocks; item += grid_size().x) {
    const int64_t block = item % most_blocks, b = item / most_blocks / heads.count;
    const int n = static_cast<int>(item / most_blocks % heads.count);
    const Pattern pattern = heads.patterns[n];
    const int64_t D = pattern.dilation, blocks = args.T / D;
    if (block >= blocks || pattern.score == BlockScore::last) continue;
    const auto k = head_rows<T>(args.k, b, heads.head[n]);
    const int64_t width = pattern.score == BlockScore::mean ? args.d : 2 * args.d;
    A* const row = summaries + heads.summaries_before[n] + (b * blocks + block) * width;
    for (int64_t c = thread_index().x; c < args.d; c += kThreads) {
      A first = convert_element<A>(k[block * D][c]), greatest = first;
      for (int64_t j = block * D + 1; j < (block + 1) * D; ++j) {
        const A x = convert_element<A>(k[j][c]);
        if (pattern.score == BlockScore::mean) {
          first += x;
        } else {
          first = x < first ? x : first;
          greatest = x > greatest ? x : greatest;
        }
      }
      row[c] = first;
      if (pattern.score == BlockScore::minmax) row[args.d + c] = greatest;
    }
  }
}

template <class T, int N, int kChannels>
__global__ __launch_bounds__(kThreads, kBlocksOfQueries<kChannels>) void attention_kernel(
    BlockAttentionArgs args, BlockHeads heads, const accumulate_t<T>* summaries, OrderedScore<accumulate_t<T>>* lists,
    int64_t list_size) {
  using A = accumulate_t<T>;
  constexpr int kVector = kBlockVector<N, kChannels>;
  SharedArena arena;
  const int d = static_cast<int>(args.d), lane = lane_index();
  const Shared<A> q = arena.take<A>(kWarps * d) + warp_index() * d;
  const int64_t warp = static_cast<int64_t>(block_index().x) * kWarps + warp_index();
  auto* const list = lists + warp * list_size;

  for (int64_t row = warp; row < args.B * heads.count * args.T; row += static_cast<int64_t>(grid_size().x) * kWarps) {
    const int64_t b = row / args.T / heads.count;
    const int n = static_cast<int>(row / args.T % heads.count), i = static_cast<int>(args.T - 1 - row % args.T);
    const Pattern pattern = heads.patterns[n];
    const int64_t h = heads.head[n];
    const int D = static_cast<int>(pattern.dilation), most = static_cast<int>(pattern.top_blocks);
    const auto k = head_rows<T>(args.k, b, h), v = head_rows<T>(args.v, b, h);
    sync_warp();
    for (int c = lane; c < d; c += kWarp) q[c] = convert_element<A>(head_rows<T>(args.q, b, h)[i][c]);
    sync_warp();

    const int64_t width = pattern.score == BlockScore::minmax ? 2 * args.d : args.d;
    const BlockSummaries<T> known{pattern.score, D, k,
                                  summaries + heads.summaries_before[n] + b * (args.T / D) * width};
    auto out = attend_blocks<N, kChannels, OneWarp>(q, i, most, known, v, list, d);
    T* const to = static_cast<T*>(args.out) + ((b * args.H + h) * args.T + i) * args.d;
    out.for_each(d, [&](const A* sums, int c) {
      Vec<T, kVector> values;
#pragma unroll
      for (int e = 0; e < kVector; ++e) values.at[e] = round_to<T>(sums[e] / out.total);
      store_vec(to + c, values);
    });
  }
}

/// The same heads for tiles of queries.
BlockTiles tiles_of_queries(const BlockAttentionArgs& args, const BlockHeads& heads, const float* summaries) {
  BlockTiles tiles{.B = args.B,
                   .n = args.T,
                   .d = args.d,
                   .q = args.q,
                   .out = rows_by_head(args.out, args.H, args.T, args.d),
                   .keys = args.k.data,
                   .values = args.v.data,
                   .keys_batch = args.k.batch,
                   .keys_time = args.k.time,
                   .values_batch = args.v.batch,
                   .values_time = args.v.time,
                   .summaries = summaries,
                   .most_keys = args.T,
                   .count = heads.count};
  for (int n = 0; n < heads.count; ++n) {
    const int64_t h = heads.head[n];
    const Pattern& pattern = heads.patterns[n];
    tiles.heads[n] = {h,
                      h * args.k.head,
                      h * args.v.head,
                      heads.summaries_before[n],
                      blocks_of(pattern, args.T) * summary_width(pattern, args.d),
                      static_cast<int>(std::min(pattern.dilation, args.T)),
                      static_cast<int>(std::min(pattern.top_blocks, args.T + 1)),
                      pattern.score};
  }
  return tiles;
}

/// Calls f(heads) for every group of heads of top-k blocks.
template <class F>
void for_each_block_heads(const BlockAttentionArgs& args, F&& f) {
  BlockHeads heads;
  for (int64_t h = 0; h < args.H; ++h) {
    if (args.patterns[h].top_blocks > 0) {
      heads.head[heads.count] = static_cast<int>(h);
      heads.patterns[heads.count++] = args.patterns[h];
    }
    if (heads.count == kHeadsPerLaunch || (h + 1 == args.H && heads.count > 0)) {
      f(heads);
      heads = {};
    }
  }
}

template <class T>
void attend(const BlockAttentionArgs& args, BlockHeads heads, Stream stream) {
  using A = accumulate_t<T>;
  int64_t elements = 0, most_blocks = 0;
  for (int n = 0; n < heads.count; ++n) {
    const Pattern& pattern = heads.patterns[n];
    heads.summaries_before[n] = elements;
    elements += args.B * blocks_of(pattern, args.T) * summary_width(pattern, args.d);
    most_blocks = std::max(most_blocks, blocks_of(pattern, args.T));
  }
  const Scratch<A> summaries(elements, stream);
  if (elements > 0)
    launch({"block_summaries", blocks_for(args.B * heads.count * most_blocks, 1), kThreads, 0, stream},
           summaries_kernel<T>, args, heads, most_blocks, summaries.get());

  if constexpr (std::is_same_v<T, bfloat16>) {
    const BlockTiles tiles = tiles_of_queries(args, heads, summaries.get());
    if (tensor_core::takes(tiles, args.dtype)) return tensor_core::attend_blocks(tiles, stream);
  }
  const int64_t list_size = most_blocks + 2, rows = args.B * heads.count * args.T;
  const int64_t blocks = (warps_of_queries(rows, list_size) + kWarps - 1) / kWarps;
  const Scratch<OrderedScore<A>> lists(blocks * kWarps * list_size, stream);
  const Launch how{"block_attention", blocks, kThreads, shared_size<A>(kWarps * args.d), stream};
  const auto start = [&](auto kernel) { launch(how, kernel, args, heads, summaries.get(), lists.get(), list_size); };
  const bool vectors = rows_are_vectorisable<T>(args.d, args.k) && rows_are_vectorisable<T>(args.d, args.v) &&
                       is_vectorisable<T>(args.d, args.out);
  if (args.d <= kNarrow * kWarp)
    vectors ? start(attention_kernel<T, kPerVec<T>, kNarrow>) : start(attention_kernel<T, 1, kNarrow>);
  else
    vectors ? start(attention_kernel<T, kPerVec<T>, kWide>) : start(attention_kernel<T, 1, kWide>);
}

/// Heads [first, end), which are dilated.
void attend_dilated(const BlockAttentionArgs& args, int64_t first, int64_t end, Stream stream) {
  const auto size = static_cast<int64_t>(size_of(args.dtype));
  const auto from = [&](const AttentionOperand& x) {
    return AttentionOperand{static_cast<const char*>(x.data) + first * x.head * size, x.batch, x.head, x.time};
  };
  const Scratch<char> lse(args.B * (end - first) * args.T * static_cast<int64_t>(sizeof(double)), stream);
  AttentionRows out = rows_by_head(args.out, args.H, args.T, args.d);
  out.data = static_cast<char*>(args.out) + first * out.head * size;
  attention_forward({.shape = {args.B, end - first, args.T, args.d, args.dtype, args.patterns + first},
                     .q = from(args.q),
                     .k = from(args.k),
                     .v = from(args.v),
                     .out = out,
                     .lse = lse.get()},
                    stream);
}

}  // namespace

void block_attention(const BlockAttentionArgs& args, Stream stream) {
  if (args.B * args.H == 0) return;
  visit_float(args.dtype, "block_attention", [&]<class T>() {
    for_each_block_heads(args, [&](const BlockHeads& heads) { attend<T>(args, heads, stream); });
  });
  for (int64_t first = 0, end = 0; first < args.H; first = end) {
    end = first + 1;
    if (args.patterns[first].top_blocks > 0) continue;
    while (end < args.H && args.patterns[end].top_blocks == 0) ++end;
    attend_dilated(args, first, end, stream);
  }
}

}  // namespace ratel::cuda
