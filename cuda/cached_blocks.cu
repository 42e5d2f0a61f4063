// Heads of top-k blocks over a cache on a GPU. Their key j has slot j, and beside the keys the cache has what is known
// of each block of them (mean: the sum; minmax: least and greatest), which grows with it. What a query sees depends on
// the rounded keys in the cache alone, and its own numbers on no other query, in tiles but for their rounding.
//
//   append      few new tokens: a block of threads has a head of a sequence, a thread a pair of channels, and walks the
//               tokens in order: a step of the recurrence, rope, the rounded key and value into the cache, the summary
//   summarise   many, whose keys the cache has: a block of threads has a block of keys that gains some, a thread a
//               channel, and walks them in order from the sum that is there. Reads the new keys once
//   attend      pieces of a prompt in bf16, of 64 or 128 channels: tiles of queries on the tensor cores
//   (block_tiles.h).
//               Else a warp has a query, and the next one when it is done: it rotates the query, scores, chooses and
//               adds up (block_query.h), and applies the output gate. Rows without a token become zeros. Where queries
//               are few, as in decoding, a block has one, whose 16 warps share the scores and the keys, and their sums
//               meet in shared memory, in order
//
// All shares follow from n and the capacity, lengths and counts are read where they lie: a captured graph stays valid
// while sequences grow. A query reads T / D rows of summaries and K D keys and values: bound by the latency of those
// where few queries are under way, and else by the second-level cache. Measured on an H100 for 32,768 tokens, 16 heads
// of 128, K = 16, D = 64: a token 60 to 73 us, by the score.

#include <algorithm>
#include <limits>

#include "cuda/block_query.h"
#include "cuda/block_tiles.h"
#include "cuda/cached_attention_parts.h"
#include "cuda/rotation.h"
#include "cuda/scratch.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
/// Of a block that has one query: their registers fill a multiprocessor. So many queries take as long as a warp each.
constexpr int kTeamThreads = 512, kTeamWarps = kTeamThreads / kWarp, kFewQueries = 384;

using Part = ProjectionPart;

/// So many heads of top-k blocks as travel with one launch, no number above the capacity.
struct BlockHeads {
  int count = 0;
  struct Head {
    int64_t h, slots_before, summaries_before;
    int block, most;  // tokens a block, and how many blocks a query sees at most
    BlockScore score;
  } heads[kCachedHeadsPerLaunch];
};

/// What a launch is told beside the heads.
struct Cached {
  CachedAttentionArgs args;
  int64_t width;             // of a projection
  int64_t slots, summaries;  // rows of a sequence
  RopeFrequencies frequencies;

  explicit Cached(const CachedAttentionArgs& of)
      : args(of),
        width(projection_width(of)),
        slots(of.slots_before[of.H]),
        summaries(of.summaries_before[of.H]),
        frequencies(of.rope_base, of.C / of.H) {}
};

/// One head of a sequence.
template <class T>
struct CachedHead {
  using A = accumulate_t<T>;
  const Cached& how;
  const BlockHeads::Head& head;
  int64_t b, length, count;
  int d;
  T *keys, *values;
  A* summaries;  // null where a block's last key is all that is asked for

  __device__ CachedHead(const Cached& cached, const BlockHeads& heads, int64_t index)
      : how(cached),
        head(heads.heads[index % heads.count]),
        b(index / heads.count),
        length(cached.args.lengths[b]),
        count(cached.args.counts[b]),
        d(static_cast<int>(cached.args.C / cached.args.H)),
        keys(static_cast<T*>(cached.args.keys) + (b * cached.slots + head.slots_before) * d),
        values(static_cast<T*>(cached.args.values) + (b * cached.slots + head.slots_before) * d),
        summaries(head.score == BlockScore::last
                      ? nullptr
                      : static_cast<A*>(cached.args.summaries) + (b * cached.summaries + head.summaries_before) * d) {}

  __device__ A at(Part part, int64_t t, int channel) const {
    const int64_t row = (b * how.args.n + t) * how.width + static_cast<int64_t>(part) * how.args.C;
    return convert_element<A>(static_cast<const T*>(how.args.projection)[row + head.h * d + channel]);
  }
  __device__ T* out(int64_t t) const {
    return static_cast<T*>(how.args.out) + (b * how.args.n + t) * how.args.C + head.h * d;
  }
};

/// What is known of one channel of a block of keys, which come in order.
template <class A>
struct ChannelSummary {
  BlockScore score;
  A first = 0, greatest = 0;  // the sum; or the least and the greatest

  __device__ A* row_of(A* summaries, int64_t block, int d) const {
    return summaries + block * (score == BlockScore::minmax ? 2 : 1) * d;
  }
  __device__ void load(const A* row, int c, int d) {
    first = row[c];
    if (score == BlockScore::minmax) greatest = row[d + c];
  }
  __device__ void store(A* row, int c, int d) const {
    row[c] = first;
    if (score == BlockScore::minmax) row[d + c] = greatest;
  }
  __device__ void begin(A x) { first = greatest = x; }
  __device__ void add(A x) {
    if (score == BlockScore::mean) {
      first += x;
    } else {
      first = x < first ? x : first;
      greatest = x > greatest ? x : greatest;
    }
  }
};

/// One channel of a head takes the rounded key of token j up.
template <class T, class A = accumulate_t<T>>
__device__ void add_to_summary(const CachedHead<T>& head, int64_t j, int c, T key) {
  if (head.summaries == nullptr) return;
  ChannelSummary<A> known{head.head.score};
  A* const row = known.row_of(head.summaries, j / head.head.block, head.d);
  if (j % head.head.block == 0) {
    known.begin(convert_element<A>(key));
  } else {
    known.load(row, c, head.d);
    known.add(convert_element<A>(key));
  }
  known.store(row, c, head.d);
}

template <class T>
__global__ __launch_bounds__(kThreads, 4) void append_kernel(Cached how, BlockHeads heads) {
  using A = accumulate_t<T>;
  const CachedHead<T> head(how, heads, block_index().x);
  const int d = head.d, half = d / 2;
  const int64_t C = how.args.C;
  const bool gated = how.args.state != nullptr;
  A* const state = gated ? static_cast<A*>(how.args.state) + 2 * head.b * C + head.head.h * d : nullptr;
  for (int pair = thread_index().x; pair < half; pair += kThreads) {
    const int channel[2] = {pair, pair + half};
    A key[2] = {}, value[2] = {};
    for (int side = 0; gated && side < 2; ++side) {
      key[side] = state[channel[side]];
      value[side] = state[C + channel[side]];
    }
    for (int64_t t = 0; t < head.count; ++t) {
      for (int side = 0; side < 2; ++side) {
        const int c = channel[side];
        const A k = head.at(Part::key, t, c), v = head.at(Part::value, t, c);
        const A g = gated ? sigmoid_for<T>(head.at(Part::gate, t, c)) : A{0};
        key[side] = gated ? g * key[side] + (1 - g) * k : k;
        value[side] = gated ? g * value[side] + (1 - g) * v : v;
      }
      const int64_t position = head.length + t;
      const auto both = turned(key[0], key[1], how.frequencies.template turn<A>(position, pair));
      for (int side = 0; side < 2; ++side) {
        const int c = channel[side];
        const T rounded = round_to<T>(both.at[side]);
        head.keys[position * d + c] = rounded;
        head.values[position * d + c] = round_to<T>(value[side]);
        add_to_summary(head, position, c, rounded);
      }
    }
    for (int side = 0; gated && side < 2; ++side) {
      state[channel[side]] = key[side];
      state[C + channel[side]] = value[side];
    }
  }
}

/// Blocks of keys that n new tokens may touch.
__host__ __device__ inline int64_t touched_blocks(int64_t n, int64_t block) { return (n + block - 2) / block + 1; }

template <class T>
__global__ __launch_bounds__(kThreads) void summarise_kernel(Cached how, BlockHeads heads, int64_t most_touched) {
  using A = accumulate_t<T>;
  for (int64_t item = block_index().x; item < how.args.B * heads.count * most_touched; item += grid_size().x) {
    const CachedHead<T> head(how, heads, item / most_touched);
    const int64_t D = head.head.block, block = head.length / D + item % most_touched;
    const int64_t begin = larger(head.length, block * D), end = smaller(head.length + head.count, (block + 1) * D);
    if (begin >= end || head.summaries == nullptr) continue;
    for (int c = thread_index().x; c < head.d; c += kThreads) {
      const auto key = [&](int64_t j) { return convert_element<A>(head.keys[j * head.d + c]); };
      ChannelSummary<A> known{head.head.score};
      A* const row = known.row_of(head.summaries, block, head.d);
      if (begin == block * D) {
        known.begin(key(begin));
      } else {
        known.load(row, c, head.d);
        known.add(key(begin));
      }
#pragma unroll 4
      for (int64_t j = begin + 1; j < end; ++j) known.add(key(j));
      known.store(row, c, head.d);
    }
  }
}

/// The query of token t, rotated and rounded into q by so many threads from `first` on.
template <class T, class A = accumulate_t<T>>
__device__ void rotate_query(const CachedHead<T>& head, int64_t t, Shared<A> q, int first, int threads) {
  const int half = head.d / 2;
  for (int c = first; c < half; c += threads) {
    const auto pair = turned(head.at(Part::query, t, c), head.at(Part::query, t, c + half),
                             head.how.frequencies.template turn<A>(head.length + t, c));
    q[c] = convert_element<A>(round_to<T>(pair.at[0]));
    q[c + half] = convert_element<A>(round_to<T>(pair.at[1]));
  }
}

template <class T>
__device__ BlockSummaries<T> known_blocks(const CachedHead<T>& head) {
  return {head.head.score, head.head.block, {head.keys, head.d}, head.summaries};
}

template <class T, int N, int kChannels>
__global__ __launch_bounds__(kThreads,
                             kBlocksOfQueries<kChannels>) void attend_kernel(Cached how, BlockHeads heads,
                                                                             OrderedScore<accumulate_t<T>>* lists,
                                                                             int64_t list_size) {
  using A = accumulate_t<T>;
  constexpr int kVector = kBlockVector<N, kChannels>;
  SharedArena arena;
  const int d = static_cast<int>(how.args.C / how.args.H);
  const Shared<A> q = arena.take<A>(kWarps * d) + warp_index() * d;
  const int64_t warp = static_cast<int64_t>(block_index().x) * kWarps + warp_index(), n = how.args.n;
  for (int64_t row = warp; row < how.args.B * heads.count * n; row += static_cast<int64_t>(grid_size().x) * kWarps) {
    const CachedHead<T> head(how, heads, row / n);
    const int64_t t = n - 1 - row % n, position = head.length + t;  // those that see most first
    if (t >= head.count) {
      for (int c = lane_index(); c < d; c += kWarp) head.out(t)[c] = T{};
      continue;
    }
    sync_warp();
    rotate_query(head, t, q, lane_index(), kWarp);
    sync_warp();
    auto sum = attend_blocks<N, kChannels, OneWarp>(q, static_cast<int>(position), head.head.most, known_blocks(head),
                                                    HeadRows<const T>{head.values, d}, lists + warp * list_size, d);
    sum.for_each(d, [&](const A* sums, int c) {
#pragma unroll
      for (int e = 0; e < kVector; ++e)
        head.out(t)[c + e] = round_to<T>(sums[e] / sum.total * sigmoid_for<T>(head.at(Part::output_gate, t, c + e)));
    });
  }
}

/// A block a query; heads of up to 128 channels.
template <class T, int N>
__global__ __launch_bounds__(kTeamThreads, 1) void attend_together_kernel(Cached how, BlockHeads heads,
                                                                          OrderedScore<accumulate_t<T>>* lists,
                                                                          int64_t list_size) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const int d = static_cast<int>(how.args.C / how.args.H), warp = warp_index();
  const Shared<A> q = arena.take<A>(d), sums = arena.take<A>(kTeamWarps * d);
  const Shared<A> largest = arena.take<A>(kTeamWarps), totals = arena.take<A>(kTeamWarps);
  const int64_t row = block_index().x, t = how.args.n - 1 - row % how.args.n;
  const CachedHead<T> head(how, heads, row / how.args.n);
  const int c = thread_index().x;
  if (t >= head.count) {
    if (c < d) head.out(t)[c] = T{};
    return;
  }
  rotate_query(head, t, q, c, kTeamThreads);
  sync_block();
  auto part =
      attend_blocks<N, kNarrow, WholeBlock>(q, static_cast<int>(head.length + t), head.head.most, known_blocks(head),
                                            HeadRows<const T>{head.values, d}, lists + row * list_size, d);
  part.for_each(d, [&](const A* own, int first) {
    for (int e = 0; e < kBlockVector<N, kNarrow>; ++e) sums[warp * d + first + e] = own[e];
  });
  if (lane_index() == 0) {
    largest[warp] = part.largest;
    totals[warp] = part.total;
  }
  sync_block();
  if (c >= d) return;
  A most = largest[0], sum = 0, total = 0;
  for (int of = 1; of < kTeamWarps; ++of) most = largest[of] > most ? A{largest[of]} : most;
  for (int of = 0; of < kTeamWarps; ++of) {
    const A share = std::exp(largest[of] - most);  // of a warp without keys 0
    sum += share * sums[of * d + c];
    total += share * totals[of];
  }
  head.out(t)[c] = round_to<T>(sum / total * sigmoid_for<T>(head.at(Part::output_gate, t, c)));
}

/// On the host: calls f(heads) for every group of heads of top-k blocks.
template <class F>
void for_each_block_heads(const CachedAttentionArgs& args, F&& f) {
  BlockHeads heads;
  for (int64_t h = 0; h < args.H; ++h) {
    const Pattern& pattern = args.patterns[h];
    if (pattern.top_blocks > 0) {
      check(args.capacity <= std::numeric_limits<int>::max(),
            "cached_attention: a cache of top-k blocks on a GPU has at most 2^31 - 1 tokens");
      heads.heads[heads.count++] = {h,
                                    args.slots_before[h],
                                    args.summaries_before[h],
                                    static_cast<int>(std::min(pattern.dilation, args.capacity)),
                                    static_cast<int>(std::min(pattern.top_blocks, args.capacity + 1)),
                                    pattern.score};
    }
    if (heads.count == kCachedHeadsPerLaunch || (h + 1 == args.H && heads.count > 0)) {
      f(heads);
      heads = {};
    }
  }
}

/// The greatest f(head).
template <class F>
int64_t most_of(const BlockHeads& heads, F&& f) {
  int64_t most = 0;
  for (int n = 0; n < heads.count; ++n) most = std::max(most, f(heads.heads[n]));
  return most;
}

/// The same heads for tiles of queries.
BlockTiles tiles_of_queries(const CachedAttentionArgs& args, const BlockHeads& heads, const AttentionOperand& queries) {
  const Cached cached(args);
  const int64_t d = args.C / args.H;
  const auto* const gates =
      static_cast<const bfloat16*>(args.projection) + static_cast<int64_t>(Part::output_gate) * args.C;
  BlockTiles tiles{.B = args.B,
                   .n = args.n,
                   .d = d,
                   .q = queries,
                   .out = rows_by_token(args.out, args.H, args.n, d),
                   .gate = {gates, args.n * cached.width, d, cached.width},
                   .keys = args.keys,
                   .values = args.values,
                   .keys_batch = cached.slots * d,
                   .keys_time = d,
                   .values_batch = cached.slots * d,
                   .values_time = d,
                   .summaries = static_cast<const float*>(args.summaries),
                   .lengths = args.lengths,
                   .counts = args.counts,
                   .most_keys = args.capacity,
                   .count = heads.count};
  for (int n = 0; n < heads.count; ++n) {
    const BlockHeads::Head& head = heads.heads[n];
    tiles.heads[n] = {head.h,
                      head.slots_before * d,
                      head.slots_before * d,
                      head.summaries_before * d,
                      cached.summaries * d,
                      head.block,
                      head.most,
                      head.score};
  }
  return tiles;
}

template <class T>
void attend(const CachedAttentionArgs& args, const BlockHeads& heads, const AttentionOperand& queries, Stream stream) {
  using A = accumulate_t<T>;
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (queries.data != nullptr) return tensor_core::attend_blocks(tiles_of_queries(args, heads, queries), stream);
  }
  const int64_t d = args.C / args.H, rows = args.B * heads.count * args.n;
  const int64_t list_size =
      most_of(heads, [&](const BlockHeads::Head& head) { return (args.capacity - 1) / head.block + 1; });
  const bool vectors = is_vectorisable<T>(d, args.keys, args.values, args.summaries), narrow = d <= kNarrow * kWarp;
  const bool together = narrow && rows <= kFewQueries;
  const int64_t blocks = together ? rows : (warps_of_queries(rows, list_size) + kWarps - 1) / kWarps;
  const Scratch<OrderedScore<A>> lists((together ? rows : blocks * kWarps) * list_size, stream);
  const size_t shared = together ? shared_size<A>(d) + shared_size<A>(kTeamWarps * d) + 2 * shared_size<A>(kTeamWarps)
                                 : shared_size<A>(kWarps * d);
  const Launch how{"cached_blocks_attend", blocks, together ? kTeamThreads : kThreads, shared, stream};
  const auto start = [&](auto kernel) { launch(how, kernel, Cached(args), heads, lists.get(), list_size); };
  if (together)
    vectors ? start(attend_together_kernel<T, kPerVec<T>>) : start(attend_together_kernel<T, 1>);
  else if (narrow)
    vectors ? start(attend_kernel<T, kPerVec<T>, kNarrow>) : start(attend_kernel<T, 1, kNarrow>);
  else
    vectors ? start(attend_kernel<T, kPerVec<T>, kWide>) : start(attend_kernel<T, 1, kWide>);
}

}  // namespace

void cached_blocks_append(const CachedAttentionArgs& args, Stream stream) {
  visit_float(args.dtype, "cached_attention", [&]<class T>() {
    for_each_block_heads(args, [&](const BlockHeads& heads) {
      launch({"cached_blocks_append", args.B * heads.count, kThreads, 0, stream}, append_kernel<T>, Cached(args),
             heads);
    });
  });
}

void cached_blocks_summarise(const CachedAttentionArgs& args, Stream stream) {
  visit_float(args.dtype, "cached_attention", [&]<class T>() {
    for_each_block_heads(args, [&](const BlockHeads& heads) {
      const int64_t touched = most_of(heads, [&](const BlockHeads::Head& head) {
        return head.score == BlockScore::last ? 0 : touched_blocks(args.n, head.block);
      });
      if (touched == 0) return;
      launch({"cached_blocks_summarise", blocks_for(args.B * heads.count * touched, 1), kThreads, 0, stream},
             summarise_kernel<T>, Cached(args), heads, touched);
    });
  });
}

bool cached_blocks_in_tiles(const CachedAttentionArgs& args) {
  const AttentionOperand queries = operand_of(rows_by_token(nullptr, args.H, args.n, args.C / args.H));
  bool some = false, all = true;
  for_each_block_heads(args, [&](const BlockHeads& heads) {
    some = true;
    all = all && tensor_core::takes(tiles_of_queries(args, heads, queries), args.dtype);
  });
  return some && all;
}

void cached_blocks_attend(const CachedAttentionArgs& args, const AttentionOperand& queries, Stream stream) {
  visit_float(args.dtype, "cached_attention", [&]<class T>() {
    for_each_block_heads(args, [&](const BlockHeads& heads) { attend<T>(args, heads, queries, stream); });
  });
}

}  // namespace ratel::cuda
