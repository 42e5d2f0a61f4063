// A piece of a prompt on a GPU, n new tokens of every sequence: the kernels of recurrent_attention, which begin where
// the sequences stand.
//
//   1. a table of rope's angles for each sequence from its length on; queries are rotated by it, in the attention's
//      kernel where that does
//   2. the recurrence from the cache's states, up to each sequence's count (recurrence_scan.h); keys are rotated
//   3. attention of tiles of queries over the cache, run by run of its slots, whose rows lie one after the other, and
//      over the new keys that the pattern admits: each key once (attention_sources.h)
//   4. new keys and values go into their slots, a warp a row, and the states into the cache; of the keys that would
//      share a slot of the ring only the last is written, so that the order of the writes does not matter
//
// Heads of top-k blocks are left out of 3: they attend over the cache that 4 leaves (cached_blocks.cu).
//
// Work: O(n (T/D + W + S)) pairs. Bytes a new token and channel in bf16: 6 read and 4 written by 2, 10 by 3, 8 by 4, 4
// more where queries are rotated apart, and the cache once for every tile of 64 queries, from the L2 cache but for the
// first. Working memory: 2 n C numbers of the op's dtype, 3 where queries are rotated apart, and the lists of top-k
// blocks (blocks_tensor_core.cu). Bound as recurrent_attention is: by bytes for sparse patterns, by products for dense
// ones.

#include "cuda/attention.h"
#include "cuda/cached_attention_parts.h"
#include "cuda/elementwise.h"
#include "cuda/recurrent_attention_stages.h"
#include "cuda/scratch.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

using Part = ProjectionPart;

/// turns (B, n, half) of pairs.
template <class A>
__global__ __launch_bounds__(kThreads) void fill_turns(CachedAttentionArgs args, RopeFrequencies frequencies, int half,
                                                       A* turns) {
  const int64_t all = args.B * args.n * half;
  for (int64_t i = global_thread(); i < all; i += global_threads()) {
    const int64_t row = i / half, b = row / args.n;
    const auto turn = frequencies.turn<A>(args.lengths[b] + row % args.n, static_cast<int>(i % half));
    store_vec(turns + 2 * i, turn);
  }
}

template <class T, int N>
__global__ __launch_bounds__(kThreads) void write_slots(CachedAttentionArgs args, CachedHeads heads,
                                                        int64_t slots_of_sequence, AttentionOperand keys,
                                                        AttentionOperand values) {
  int64_t row = static_cast<int64_t>(block_index().x) * kWarps + warp_index();
  const int64_t t = row % args.n;
  row /= args.n;
  const int64_t in_group = row % heads.count, b = row / heads.count;
  if (b >= args.B || t >= args.counts[b]) return;
  const int64_t d = args.C / args.H, position = args.lengths[b] + t, end = args.lengths[b] + args.counts[b];
  const CacheSlots slots = heads.heads[in_group].slots;
  if (!slots.keeps(position)) return;
  const bool in_ring = !slots.is_dilated(position) && !slots.is_initial(position);
  const int64_t ring = slots.count() - slots.first_ring();
  if (in_ring && slots.others_before(end) - slots.others_before(position) > ring) return;  // a later key has the slot
  const int64_t to = (b * slots_of_sequence + heads.heads[in_group].before + slots.slot(position)) * d;
  const int64_t h = heads.first + in_group;
  const auto row_of = [&](const AttentionOperand& x) {
    return static_cast<const T*>(x.data) + b * x.batch + h * x.head + t * x.time;
  };
  for (int64_t c = lane_index() * N; c < d; c += kWarp * N) {
    store_vec(static_cast<T*>(args.keys) + to + c, load_vec<N>(row_of(keys) + c));
    store_vec(static_cast<T*>(args.values) + to + c, load_vec<N>(row_of(values) + c));
  }
}

void write_cache(const CachedAttentionArgs& args, const AttentionOperand& keys, const AttentionOperand& values,
                 Stream stream) {
  visit_float(args.dtype, "cached_attention", [&]<class T>() {
    const int64_t d = args.C / args.H;
    const bool vectors = is_vectorisable<T>(d, keys.data, values.data, args.keys, args.values);
    for_each_cached_group(args, HeadKinds::all, [&](const CachedHeads& heads) {
      const Launch how{"cached_attention_write", (args.B * heads.count * args.n + kWarps - 1) / kWarps, kThreads, 0,
                       stream};
      if (vectors)
        launch(how, write_slots<T, kPerVec<T>>, args, heads, args.slots_before[args.H], keys, values);
      else
        launch(how, write_slots<T, 1>, args, heads, args.slots_before[args.H], keys, values);
    });
  });
}

struct Same {
  template <class A>
  __device__ A operator()(A x) const {
    return x;
  }
};

}  // namespace

void cached_prefill(const CachedAttentionArgs& args, Stream stream) {
  const int64_t B = args.B, n = args.n, C = args.C, H = args.H, d = C / H, width = projection_width(args);
  const bool gated = args.recurrence == Recurrence::gated;
  const bool dilated =
      std::any_of(args.patterns, args.patterns + H, [](const Pattern& pattern) { return pattern.top_blocks == 0; });
  const auto element = static_cast<int64_t>(size_of(args.dtype)),
             wide = static_cast<int64_t>(size_of(accumulate_dtype(args.dtype)));
  const auto part = [&](Part p) {
    const auto* const data = static_cast<const unsigned char*>(args.projection);
    return AttentionOperand{data + static_cast<int64_t>(p) * C * element, n * width, d, width};
  };
  AttentionForwardArgs attention{.shape = {B, H, n, d, args.dtype, args.patterns},
                                 .q = part(Part::query),
                                 .k = {},
                                 .v = {},
                                 .out = {},
                                 .lse = nullptr,
                                 .gate = part(Part::output_gate),
                                 .gated = rows_by_token(args.out, H, n, d)};
  const bool in_tiles = cached_blocks_in_tiles(args), turning = takes_turns(attention, args),
             rotated = in_tiles || (dilated && !turning);
  const Scratch<unsigned char> turns(B * n * d * wide, stream), queries(rotated ? B * n * C * element : 0, stream),
      keys(B * n * C * element, stream), values(gated ? B * n * C * element : 0, stream),
      lse(dilated ? B * H * n * wide : 0, stream), states(gated ? 2 * B * C * wide : 0, stream);
  const auto rows = [&](const Scratch<unsigned char>& data) { return rows_by_token(data.get(), H, n, d); };
  const auto rotate = [&](const AttentionOperand& x, const AttentionRows& y) {
    rotate_heads({B, n, H, d, args.dtype, turns.get(), x.data, x.batch, x.time, y.data, y.batch, y.time,
                  Rotation::forward, n * d},
                 stream);
  };
  visit_float(accumulate_dtype(args.dtype), "cached_attention", [&]<class A>() {
    launch({"cached_attention_turns", blocks_for(B * n * d / 2, kThreads), kThreads, 0, stream}, fill_turns<A>, args,
           RopeFrequencies(args.rope_base, d), static_cast<int>(d / 2), reinterpret_cast<A*>(turns.get()));
  });
  if (rotated) rotate(part(Part::query), rows(queries));
  if (gated)
    recurrence_stage_forward({B, n, C, H, args.dtype, args.projection, turns.get(), keys.get(), values.get(), nullptr,
                              args.state, states.get(), args.counts, n * d},
                             stream);
  else
    rotate(part(Part::key), rows(keys));
  const AttentionOperand k = operand_of(rows(keys)), v = gated ? operand_of(rows(values)) : part(Part::value);
  if (dilated) {
    attention.k = k;
    attention.v = v;
    attention.lse = lse.get();
    if (turning)
      attention.turns = {turns.get(), n * d};
    else
      attention.q = operand_of(rows(queries));
    cached_attention_forward(attention, args, stream);
  }
  write_cache(args, k, v, stream);
  if (gated)
    visit_float(accumulate_dtype(args.dtype), "cached_attention", [&]<class A>() {
      map("cached_attention_states", 2 * B * C, stream, Same(), static_cast<A*>(args.state),
          reinterpret_cast<const A*>(states.get()));
    });
  cached_blocks_summarise(args, stream);
  cached_blocks_attend(args, in_tiles ? operand_of(rows(queries)) : AttentionOperand{}, stream);
}

}  // namespace ratel::cuda
