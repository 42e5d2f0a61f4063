// Dilated attention on the tensor cores: bf16, d = 64 or 128, rows that begin at multiples of 16 bytes. A block of four
// warps has 64 queries (forward, and the queries' gradients) or 64 keys (the keys' and values' gradients) and walks the
// tiles that meet them, which arrive by cp.async while the tensor cores work on the one before; dilated keys are rows D
// apart, fetched as any others. All sums, softmax and statistics are f32; probabilities and score gradients are rounded
// to bf16 for the second product, whose left operand they already lie in registers as.
//
// Forward: a query's softmax begins with its own key (m = s_ii, l = 1, o = v_i), the diagonal of the first product.
// Backward: the query kernel begins with the terms of the own keys, and writes the gradients of keys that no other
// query sees.
//
// Flops a pair that meet: forward 4 d, query gradients 6 d, key gradients 8 d. Bytes a token and channel: forward 8 (q,
// own k and v, out; 12 with a gate), and the other keys, 4/D, from the L2 cache; backward 20 where W = 0: 10 read and 6
// written by the query kernel, q and grad_out again by the key kernel, once for every 64 far keys, from the cache but
// for the first time. Bytes bind up to T ~ 14K at D = 16, then the tensor cores.
//
// Measured on an H100 at 8 x 4096 x 2048, d = 128, D = 16 and 64: forward 285 and 196 us of 179 that the bytes take at
// the rate of a copy, with a gate 391 and 328 of 262; query gradients with the gate 616 and 565, key gradients 335 and
// 156.

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "cuda/attention_slices.h"
#include "cuda/attention_sources.h"
#include "cuda/attention_tile.h"
#include "cuda/attention_tile_parts.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda::tensor_core {
namespace {

constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.69314718055994531f;

/// Rows of the tiles that a block walks. Forward three tiles are on their way or being used, and three blocks fit a
/// multiprocessor (two, of 68 KiB, of sm_80 where d = 128); of backward's two, with as many tiles for queries and two
/// for keys (of sm_80 one of the query kernel, of 86 KiB where d = 128).
constexpr int kKeys = 32, kStages = 3;
template <int d>
constexpr int kBackwardRows = d == 64 ? 64 : 32;

/// Blocks on a multiprocessor, where its shared memory holds so many; they leave a thread 168 or 255 registers.
template <class Source>
constexpr int kForwardBlocks = std::is_same_v<Source, CallKeys> ? 3 : 2;

template <int d, class Source>
__global__ __launch_bounds__(kTileThreads, kForwardBlocks<Source>) void forward_kernel(AttentionForwardArgs args,
                                                                                       HeadGroup group, int64_t tiles,
                                                                                       Source source) {
  SharedArena arena;
  const RowTile<d> queries(arena, kTileRows), key_tiles(arena, kStages * kKeys), value_tiles(arena, kStages * kKeys);
  const BlockOfHead block(group, args.shape, static_cast<int>(tiles));
  const int begin = static_cast<int>(tiles - 1 - block.piece) * kTileRows;  // those with most keys first
  const int rows = static_cast<int>(smaller(kTileRows, source.tokens(args.shape, block.b) - begin));
  if constexpr (!std::is_same_v<Source, CallKeys>) {
    clear_rows<d>(head_rows<bfloat16>(args.gated, block.b, block.h), begin, rows, args.shape.T);
    if (rows <= 0) return;
  }
  const auto q = head_rows<bfloat16>(args.q, block.b, block.h), k = head_rows<bfloat16>(args.k, block.b, block.h),
             v = head_rows<bfloat16>(args.v, block.b, block.h);
  const typename Source::template Tiles<kKeys, int, bfloat16> keys(source, group, block, begin, begin + rows, k, v);
  const auto begin_load = [&](int n) {
    const auto from = keys.with_rows(n);
    begin_load_of<kKeys>(n % kStages * kKeys, from.tile.count, key_tiles, from.keys, value_tiles, from.values);
  };
  queries.template begin_load<kTileRows>(rows, q[begin], q.step);
  // The queries' own keys take the places of the second and third tile, which are asked for when they have been used.
  static_assert(kTileRows == (kStages - 1) * kKeys);
  begin_load_of<kTileRows>(kKeys, rows, key_tiles, {k[begin], k.step}, value_tiles, {v[begin], v.step});
  // A group of copies for every tile, though it be empty: what may be under way is counted in groups.
  const int tiles_of_keys = keys.count();
  if (tiles_of_keys > 0)
    begin_load(0);
  else
    commit_copies();
  commit_copies();
  wait_copies<2>();
  sync_block();

  const int own = kKeys + warp_index() * 16;
  FragmentC own_scores[2];
  multiply_rows<d, 16>(own_scores, queries, warp_index() * 16, key_tiles.behind(own));
  RunningSoftmax<d> softmax;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    softmax.largest[half] = softmax.scale * diagonal(own_scores, half);
    softmax.total[half] = lane_index() % 4 == 0 ? 1.0f : 0.0f;  // each lane sums its own columns
  }
  start_from_tile<d>(softmax.out, value_tiles, own, {1, 1});

  for (int n = 0; n < tiles_of_keys; ++n) {
    wait_copies<1>();
    sync_block();
    for (int next = n == 0 ? 1 : n + 2; next <= n + 2; ++next)
      if (next < tiles_of_keys)
        begin_load(next);
      else
        commit_copies();
    const int from = n % kStages * kKeys;
    FragmentC scores[kKeys / 8];
    multiply_rows<d, kKeys>(scores, queries, warp_index() * 16, key_tiles.behind(from));
    hide_unseen<kKeys>(scores, keys[n], begin);
    softmax.template add<kKeys>(scores, value_tiles.behind(from));
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = softmax.divide(half);
    if (lane_index() % 4 == 0 && fragment_row(half) < rows)
      static_cast<float*>(args.lse)[block.row + begin + fragment_row(half)] =
          softmax.largest[half] * kLn2 + std::log(sum);
  }
  wait_copies<0>();
  sync_block();
  const auto to = head_rows<bfloat16>(args.out, block.b, block.h),
             gated = head_rows<bfloat16>(args.gated, block.b, block.h);
  const auto gate = head_rows<bfloat16>(args.gate, block.b, block.h);
  store_rows<d>(softmax.out, queries, [&](int r, int channel, Vec<bfloat16, 8> values) {
    if (r >= rows) return;
    store_vec(to[begin + r] + channel, values);
    if (gated.data == nullptr) return;
    const auto gates = load_vec<8>(gate[begin + r] + channel);
    for (int i = 0; i < 8; ++i)
      values.at[i] = round_to_bf16(static_cast<float>(values.at[i]) * fast_sigmoid(static_cast<float>(gates.at[i])));
    store_vec(gated[begin + r] + channel, values);
  });
}

template <int d>
__global__ __launch_bounds__(kTileThreads, 2) void query_kernel(AttentionBackwardArgs args,
                                                                AttentionStatistics statistics, HeadGroup group,
                                                                int64_t tiles) {
  constexpr int N = kBackwardRows<d>;
  SharedArena arena;
  const RowTile<d> queries(arena, kTileRows), grads(arena, kTileRows), key_tiles(arena, kStages * N),
      value_tiles(arena, kStages * N);
  const OwnTerms own(arena);
  const BlockOfHead block(group, args.shape, static_cast<int>(tiles));
  const int begin = static_cast<int>(tiles - 1 - block.piece) * kTileRows;
  const int rows = static_cast<int>(smaller(kTileRows, args.shape.T - begin));
  const auto q = head_rows<bfloat16>(args.q, block.b, block.h), k = head_rows<bfloat16>(args.k, block.b, block.h),
             v = head_rows<bfloat16>(args.v, block.b, block.h),
             grad = head_rows<bfloat16>(args.grad_out, block.b, block.h);
  const KeyTiles<N, int> keys(PatternOf<int>(block.pattern), begin, begin + rows);
  const int tiles_of_keys = keys.count();
  const auto begin_load = [&](int n) {
    if (n >= tiles_of_keys) return commit_copies();  // an empty group: what is under way is counted in groups
    const KeyTile<int> tile = keys[n];
    begin_load_of<N>(n % kStages * N, tile.count, key_tiles, {k[tile.first], k.step * tile.step}, value_tiles,
                     {v[tile.first], v.step * tile.step});
  };
  // All that the block's own rows need is asked for at once; their keys take the places of the second and third tile.
  queries.template begin_load<kTileRows>(rows, q[begin], q.step);
  grads.template begin_load<kTileRows>(rows, grad[begin], grad.step);
  static_assert(kTileRows <= (kStages - 1) * N);
  begin_load_of<kTileRows>(N, rows, key_tiles, {k[begin], k.step}, value_tiles, {v[begin], v.step});
  begin_load(0);
  commit_copies();
  const bool is_gated = args.gate.data != nullptr;
  const auto out = head_rows<bfloat16>(args.out, block.b, block.h),
             gate = head_rows<bfloat16>(args.gate, block.b, block.h);
  Vec<bfloat16, 8> out_rows[d / 16], gate_rows[d / 16] = {};
  for_each_piece<d>([&](int n, int r, int channel) {
    const int i = begin + smaller(r, rows - 1);
    out_rows[n] = load_vec<8>(out[i] + channel);
    if (is_gated) gate_rows[n] = load_vec<8>(gate[i] + channel);
  });
  float lse[2], delta[2], own_ds[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t at = block.row + begin + smaller(fragment_row(half), rows - 1);
    lse[half] = static_cast<const float*>(args.lse)[at];
    delta[half] = args.grad_lse == nullptr ? 0.0f : -static_cast<const float*>(args.grad_lse)[at];
  }
  wait_copies<2>();
  sync_block();

  const float scale = 1 / std::sqrt(static_cast<float>(d));
  const int first_row = warp_index() * 16, own_row = N + first_row;
  if (is_gated) ungate_rows<d>(args, block, begin, rows, out_rows, gate_rows, grads);
  multiply_own_rows<d>(own, grads, value_tiles.behind(N), out_rows);
  const HeldRows<d> held_queries(queries, first_row), held_grads(grads, first_row);
  FragmentC own_scores[2];
  multiply_rows<16>(own_scores, held_queries, key_tiles.behind(own_row));
  sync_warp();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = fragment_row(half);
    delta[half] += own.delta[r];
    const float p = std::exp(scale * diagonal(own_scores, half) - lse[half]);
    own_ds[half] = scale * p * (own.slope[r] - delta[half]);
    lse[half] *= kLog2e;
    if (lane_index() % 4 != 0 || r >= rows) continue;
    own.p[r] = p;
    own.ds[r] = own_ds[half];
    const int64_t at = block.row + begin + r;
    static_cast<float*>(statistics.delta)[at] = delta[half];
    static_cast<float*>(statistics.p)[at] = p;
    static_cast<float*>(statistics.ds)[at] = own_ds[half];
  }
  FragmentC grad_q[d / 8];
  start_from_tile<d>(grad_q, key_tiles, own_row, own_ds);
  if (block.pattern.window == 0) {  // near keys are seen by their own queries alone
    sync_warp();
    const KeyLists<int> lists(PatternOf<int>(block.pattern), static_cast<int>(args.shape.T));
    const auto grad_k = head_rows<bfloat16>(args.grad_k, block.b, block.h),
               grad_v = head_rows<bfloat16>(args.grad_v, block.b, block.h);
    const auto put = [&](const RowTile<d>& tile, float factor, int r, int channel, bfloat16* to) {
      auto values = tile.data().template load<8>(tile.at(r, channel));
      for (int c = 0; c < 8; ++c) values.at[c] = round_to_bf16(factor * static_cast<float>(values.at[c]));
      store_vec(to + channel, values);
    };
    for_each_piece<d>([&](int, int r, int channel) {
      if (r >= rows || !lists.is_near(begin + r)) return;
      put(queries, own.ds[r], r, channel, grad_k[begin + r]);
      put(grads, own.p[r], r, channel, grad_v[begin + r]);
    });
  }

  for (int n = 0; n < tiles_of_keys; ++n) {
    wait_copies<1>();
    sync_block();
    if (n == 0) begin_load(1);
    begin_load(n + 2);
    const int from = n % kStages * N;
    FragmentC scores[N / 8], slopes[N / 8];
    multiply_rows<N>(scores, held_queries, key_tiles.behind(from));
    multiply_rows<N>(slopes, held_grads, value_tiles.behind(from));
    hide_unseen<N>(scores, keys[n], begin);
#pragma unroll
    for (int at = 0; at < N / 2; ++at) {
      const int half = at % 4 / 2;
      const float p = fast_exp2(scores[at / 4].at[at % 4] * (scale * kLog2e) - lse[half]);
      slopes[at / 4].at[at % 4] = scale * p * (slopes[at / 4].at[at % 4] - delta[half]);
    }
    add_weighted_rows<d, N>(grad_q, slopes, key_tiles.behind(from));
  }
  wait_copies<0>();
  if (args.turns != nullptr)
    turn_back<d>(grad_q, [&](int half) {
      const int64_t token = begin + smaller(fragment_row(half), rows - 1);
      return static_cast<const float*>(args.turns) + token * d;
    });
  const auto to = head_rows<bfloat16>(args.grad_q, block.b, block.h);
  store_rows<d>(grad_q, queries, [&](int r, int channel, const Vec<bfloat16, 8>& values) {
    if (r < rows) store_vec(to[begin + r] + channel, values);
  });
}

/// Channels of its values that the key kernel keeps in registers, as many as are left.
template <int d>
constexpr int kHeldValues = d == 64 ? d : d - 48;

template <int d>
__global__ __launch_bounds__(kTileThreads) void key_kernel(AttentionBackwardArgs args, AttentionStatistics statistics,
                                                           QuerySlices slices, HeadGroup group, int64_t pieces) {
  constexpr int N = kBackwardRows<d>;
  SharedArena arena;
  const RowTile<d> keys(arena, kTileRows), values(arena, kTileRows), query_tiles(arena, 2 * N),
      grad_tiles(arena, 2 * N);
  const Shared<float> lse = arena.take<float>(2 * N), delta = arena.take<float>(2 * N);
  const BlockOfHead block(group, args.shape, static_cast<int>(pieces), BlockOrder::pieces);
  const OwnedKeys<kTileRows, int> owned(PatternOf<int>(block.pattern), static_cast<int>(args.shape.T),
                                        static_cast<int>(block.piece), slices);
  if (owned.count == 0) return;
  const auto q = head_rows<bfloat16>(args.q, block.b, block.h), k = head_rows<bfloat16>(args.k, block.b, block.h),
             v = head_rows<bfloat16>(args.v, block.b, block.h),
             grad = head_rows<bfloat16>(args.grad_out, block.b, block.h);
  const int tiles = tiles_of(larger(0, owned.query_end - owned.query_begin), N);
  // From the last queries to the first, so that blocks that begin together, other keys of the head, find them in the
  // cache.
  const auto first_query = [&](int n) { return owned.query_begin + (tiles - 1 - n) * N; };
  const auto queries_of = [&](int n) { return smaller(N, owned.query_end - first_query(n)); };
  const auto begin_load = [&](int n) {
    const int into = n % 2 * N, count = queries_of(n);
    const int first = first_query(n);
    query_tiles.behind(into).template begin_load<N>(count, q.data, q.step, first);
    grad_tiles.behind(into).template begin_load<N>(count, grad.data, grad.step, first);
    commit_copies();
  };
  // The statistics of a tile come by way of a register, asked for before the tile ahead of it is worked on: a thread
  // has lse or delta of a query.
  static_assert(2 * N <= kTileThreads);
  const int mine = thread_index().x % N, which = thread_index().x / N;
  float next = 0;
  const auto fetch_statistics = [&](int n) {
    if (n >= tiles || which > 1 || mine >= queries_of(n)) return;
    next = static_cast<const float*>(which == 0 ? args.lse : statistics.delta)[block.row + first_query(n) + mine];
  };
  const auto put_statistics = [&](int n) {
    if (which == 0) lse[n % 2 * N + mine] = kLog2e * next;
    if (which == 1) delta[n % 2 * N + mine] = next;
  };
  int key[2], last[2];  // the last query that sees the key
  for (int half = 0; half < 2; ++half) {
    key[half] = owned.key(smaller(fragment_row(half), owned.count - 1));
    last[half] = smaller(owned.query_end - 1, owned.last_query(key[half]));
  }
  keys.template begin_gather<kTileRows>(owned.count, [&](int r) { return k[owned.key(r)]; });
  values.template begin_gather<kTileRows>(owned.count, [&](int r) { return v[owned.key(r)]; });
  const float scale = 1 / std::sqrt(static_cast<float>(d));
  FragmentC grad_k[d / 8] = {}, grad_v[d / 8] = {};
  if (owned.slice == 0) {  // which has the terms of the keys' own queries, that take the places of both tiles
    query_tiles.template begin_gather<kTileRows>(owned.count, [&](int r) { return q[owned.key(r)]; });
    grad_tiles.template begin_gather<kTileRows>(owned.count, [&](int r) { return grad[owned.key(r)]; });
    commit_copies();
    float ds[2], p[2];
    for (int half = 0; half < 2; ++half) {
      ds[half] = static_cast<const float*>(statistics.ds)[block.row + key[half]] / scale;
      p[half] = static_cast<const float*>(statistics.p)[block.row + key[half]];
    }
    wait_copies<0>();
    sync_block();
    start_from_tile<d>(grad_k, query_tiles, warp_index() * 16, ds);
    start_from_tile<d>(grad_v, grad_tiles, warp_index() * 16, p);
    sync_block();
  }
  if (tiles > 0) begin_load(0);
  fetch_statistics(0);
  put_statistics(0);
  wait_copies<0>();
  sync_block();
  const HeldRows<d> held_keys(keys, warp_index() * 16);
  const HeldRows<d, kHeldValues<d>> held_values(values, warp_index() * 16);

  for (int n = 0; n < tiles; ++n) {
    wait_copies<0>();
    sync_block();
    if (n + 1 < tiles) begin_load(n + 1);
    fetch_statistics(n + 1);
#pragma unroll 1  // sixteen queries at a time leave registers to the held rows
    for (int part = 0; part < N; part += 16) {
      const int from = n % 2 * N + part, first = first_query(n) + part;
      FragmentC weights[2], slopes[2];
      multiply_rows<16>(weights, held_keys, query_tiles.behind(from));
      multiply_rows<16>(slopes, held_values, grad_tiles.behind(from));
#pragma unroll
      for (int eight = 0; eight < 2; ++eight) {
        const int c = fragment_column(eight);
        const auto lse_c = lse.template load<2>(from + c), delta_c = delta.template load<2>(from + c);
#pragma unroll
        for (int at = 0; at < 4; ++at) {
          const int query = first + c + at % 2, half = at / 2;
          float &weight = weights[eight].at[at], &slope = slopes[eight].at[at];
          weight = fast_exp2(weight * (scale * kLog2e) - lse_c.at[at % 2]);
          if (query <= key[half] || query > last[half]) weight = 0;
          slope = weight * (slope - delta_c.at[at % 2]);  // scaled at the end
        }
      }
      add_weighted_rows<d, 16>(grad_v, weights, grad_tiles.behind(from));
      add_weighted_rows<d, 16>(grad_k, slopes, query_tiles.behind(from));
    }
    if (n + 1 < tiles) put_statistics(n + 1);
  }
  wait_copies<0>();
  sync_block();
#pragma unroll
  for (int at = 0; at < d / 2; ++at) grad_k[at / 4].at[at % 4] *= scale;
  if (owned.far && slices.count > 1) {
    const int64_t row =
        ((owned.slice * args.shape.B + block.b) * args.shape.H + block.h) * slices.far_keys + owned.first;
    const auto put = [&](const FragmentC(&sums)[d / 8], void* into) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (fragment_row(half) >= owned.count) continue;
        float* const to = static_cast<float*>(into) + (row + fragment_row(half)) * d;
#pragma unroll
        for (int at = 0; at < d / 8; ++at)
          store_vec(to + fragment_column(at), Vec<float, 2>{{sums[at].at[2 * half], sums[at].at[2 * half + 1]}});
      }
    };
    put(grad_k, slices.grad_k);
    put(grad_v, slices.grad_v);
    return;
  }
  const auto put = [&](const HeadRows<bfloat16>& to) {
    return [&, to](int r, int channel, const Vec<bfloat16, 8>& eight) {
      if (r < owned.count) store_vec(to[owned.key(r)] + channel, eight);
    };
  };
  store_rows<d>(grad_k, keys, put(head_rows<bfloat16>(args.grad_k, block.b, block.h)));
  store_rows<d>(grad_v, values, put(head_rows<bfloat16>(args.grad_v, block.b, block.h)));
}

/// Tokens are counted in 32 bits, with room for what is added to them.
bool takes(const AttentionShape& shape, std::initializer_list<AttentionOperand> all_rows) {
  const auto fits = [&](const AttentionOperand& rows) { return rows_are_vectorisable<bfloat16>(shape.d, rows); };
  return shape.dtype == DType::bf16 && (shape.d == 64 || shape.d == 128) && shape.T < int64_t{1} << 29 &&
         std::ranges::all_of(all_rows, fits);
}

/// Calls f.template operator()<d>() for the width.
template <class F>
void visit_width(int64_t d, F&& f) {
  if (d == 64)
    f.template operator()<64>();
  else
    f.template operator()<128>();
}

template <class Source>
void launch_forward(const char* name, const AttentionForwardArgs& args, const HeadGroup& group, const Source& source,
                    Stream stream) {
  const int64_t tiles = tiles_of(args.shape.T, kTileRows);
  visit_width(args.shape.d, [&]<int d>() {
    constexpr size_t kShared = RowTile<d>::size(kTileRows) + 2 * RowTile<d>::size(kStages * kKeys);
    launch({name, args.shape.B * group.count * tiles, kTileThreads, kShared, stream}, forward_kernel<d, Source>, args,
           group, tiles, source);
  });
}

}  // namespace

bool takes(const AttentionForwardArgs& args) {
  return takes(args.shape, {args.q, args.k, args.v, operand_of(args.out), args.gate, operand_of(args.gated)});
}
bool takes(const AttentionForwardArgs& args, const CachedAttentionArgs& cache) {
  return takes(args) && cache.capacity < int64_t{1} << 29 && is_vectorisable<bfloat16>(0, cache.keys, cache.values);
}
bool takes(const AttentionBackwardArgs& args) {
  return takes(args.shape,
               {args.q, args.k, args.v, args.out, args.grad_out, operand_of(args.grad_q), operand_of(args.grad_k),
                operand_of(args.grad_v), args.gate, operand_of(args.grad_gate), operand_of(args.ungated)});
}

void forward(const AttentionForwardArgs& args, Stream stream) {
  for_each_head_group(args.shape, [&](const HeadGroup& group) {
    launch_forward("attention_forward_tensor_core", args, group, CallKeys(), stream);
  });
}

void cached_forward(const AttentionForwardArgs& args, const CachedAttentionArgs& cache, Stream stream) {
  for_each_cached_group(args.shape, cache, [&](const HeadGroup& group, const CachedKeys& keys) {
    launch_forward("cached_attention_forward_tensor_core", args, group, keys, stream);
  });
}

void query_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream) {
  const int64_t tiles = tiles_of(args.shape.T, kTileRows);
  visit_width(args.shape.d, [&]<int d>() {
    constexpr size_t kShared =
        2 * RowTile<d>::size(kTileRows) + 2 * RowTile<d>::size(kStages * kBackwardRows<d>) + OwnTerms::size();
    for_each_head_group(args.shape, [&](const HeadGroup& group) {
      launch(
          {"attention_query_gradients_tensor_core", args.shape.B * group.count * tiles, kTileThreads, kShared, stream},
          query_kernel<d>, args, statistics, group, tiles);
    });
  });
}

void key_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream) {
  visit_width(args.shape.d, [&]<int d>() {
    constexpr size_t kShared = 2 * RowTile<d>::size(kTileRows) + 2 * RowTile<d>::size(2 * kBackwardRows<d>) +
                               2 * shared_size<float>(2 * kBackwardRows<d>);
    with_query_slices<bfloat16, kTileRows>(args.shape, args.grad_k, args.grad_v, stream,
                                           [&](const HeadGroup& group, int64_t pieces, const QuerySlices& slices) {
                                             launch(
                                                 {"attention_key_gradients_tensor_core",
                                                  args.shape.B * group.count * pieces, kTileThreads, kShared, stream},
                                                 key_kernel<d>, args, statistics, slices, group, pieces);
                                           });
  });
}

}  // namespace ratel::cuda::tensor_core
