// Dilated attention on the tensor cores, backward, of what forward takes (attention_tensor_core.cu), by the same tiles
// and products. A block of four warps has 64 queries (the queries' gradients) or 64 keys (the keys' and values') and
// walks the tiles that meet them. The query kernel begins with the terms of the own keys, and writes the gradients of
// keys that no other query sees. Sums are f32; score gradients are rounded to bf16 for the second product.
//
// Flops a pair that meet: query gradients 6 d, key gradients 8 d. Bytes a token and channel 20 where W = 0: 10 read and
// 6 written by the query kernel, q and grad_out again by the key kernel, once for every 64 far keys, from the cache but
// for the first time.
//
// Measured on an H100 at 8 x 16 x 4096 x 128, D = 16 and 64, of 380 us that the bytes take: 682 and 518 us by products
// of warpgroups, 823 and 552 by those of warps, which shared memory binds.

#include <cmath>

#include "cuda/attention_slices.h"
#include "cuda/attention_tensor_core.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda::tensor_core {
namespace {

/// Rows of the tiles that a block walks: two blocks fit a multiprocessor (of sm_80 one of the query kernel, of 86 KiB
/// where d = 128).
template <int d>
constexpr int kBackwardRows = d == 64 ? 64 : 32;

template <class Tile>
__device__ inline void add_query_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics,
                                           const HeadGroup& group, int64_t tiles) {
  constexpr int d = Tile::kChannels, N = kBackwardRows<d>;
  SharedArena arena;
  const Tile queries(arena, kTileRows), grads(arena, kTileRows), key_tiles(arena, kStages * N),
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
  const Held<Tile> held_queries(queries), held_grads(grads);
  FragmentC own_scores[2];
  multiply_rows<16>(own_scores, queries, first_row, key_tiles.behind(own_row));
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
    const auto put = [&](const Tile& tile, float factor, int r, int channel, bfloat16* to) {
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
    settle<Tile, 1>();
    if (n == 0) begin_load(1);
    begin_load(n + 2);
    const int from = n % kStages * N;
    FragmentC scores[N / 8], slopes[N / 8];
    multiply_tile<N>(scores, held_queries, key_tiles.behind(from));
    multiply_tile<N>(slopes, held_grads, value_tiles.behind(from));
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
  if constexpr (Tile::kOfWarpgroup) sync_block();  // which reads the queries where the gradients go to
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

template <class Tile>
__global__ __launch_bounds__(kTileThreads, 2) void query_kernel(AttentionBackwardArgs args,
                                                                AttentionStatistics statistics, HeadGroup group,
                                                                int64_t tiles) {
  if constexpr (Tile::kExists)
    add_query_gradients<Tile>(args, statistics, group, tiles);
  else
    trap();
}

/// Channels of its values that the key kernel keeps in registers, as many as are left.
template <int d>
constexpr int kHeldValues = d == 64 ? d : d - 48;
/// Queries of a tile that it works on at once: sixteen leave registers to what a warp holds.
template <class Tile>
constexpr int kQueriesAtOnce = Tile::kOfWarpgroup ? 32 : 16;

template <class Tile>
__device__ inline void add_key_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics,
                                         const QuerySlices& slices, const HeadGroup& group, int64_t pieces) {
  constexpr int d = Tile::kChannels, N = kBackwardRows<d>, kPart = kQueriesAtOnce<Tile>;
  SharedArena arena;
  const Tile keys(arena, kTileRows), values(arena, kTileRows), query_tiles(arena, 2 * N), grad_tiles(arena, 2 * N);
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
    query_tiles.behind(into).template begin_load<N>(count, q.data, static_cast<int>(q.step), first);
    grad_tiles.behind(into).template begin_load<N>(count, grad.data, static_cast<int>(grad.step), first);
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
  const Held<Tile> held_keys(keys);
  const Held<Tile, kHeldValues<d>> held_values(values);

  for (int n = 0; n < tiles; ++n) {
    settle<Tile, 0>();
    if (n + 1 < tiles) begin_load(n + 1);
    fetch_statistics(n + 1);
#pragma unroll 1
    for (int part = 0; part < N; part += kPart) {
      const int from = n % 2 * N + part, first = first_query(n) + part;
      FragmentC weights[kPart / 8], slopes[kPart / 8];
      multiply_tile<kPart>(weights, held_keys, query_tiles.behind(from));
      multiply_tile<kPart>(slopes, held_values, grad_tiles.behind(from));
#pragma unroll
      for (int eight = 0; eight < kPart / 8; ++eight) {
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
      add_weighted_rows<d, kPart>(grad_v, weights, grad_tiles.behind(from));
      add_weighted_rows<d, kPart>(grad_k, slopes, query_tiles.behind(from));
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

template <class Tile>
__global__ __launch_bounds__(kTileThreads) void key_kernel(AttentionBackwardArgs args, AttentionStatistics statistics,
                                                           QuerySlices slices, HeadGroup group, int64_t pieces) {
  if constexpr (Tile::kExists)
    add_key_gradients<Tile>(args, statistics, slices, group, pieces);
  else
    trap();
}

}  // namespace

bool takes(const AttentionBackwardArgs& args) {
  return takes(args.shape,
               {args.q, args.k, args.v, args.out, args.grad_out, operand_of(args.grad_q), operand_of(args.grad_k),
                operand_of(args.grad_v), args.gate, operand_of(args.grad_gate), operand_of(args.ungated)});
}

void query_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream) {
  const int64_t tiles = tiles_of(args.shape.T, kTileRows);
  visit_tile(args.shape.d, [&]<class Tile>() {
    constexpr size_t kShared =
        2 * Tile::size(kTileRows) + 2 * Tile::size(kStages * kBackwardRows<Tile::kChannels>) + OwnTerms::size();
    for_each_head_group(args.shape, [&](const HeadGroup& group) {
      launch(
          {"attention_query_gradients_tensor_core", args.shape.B * group.count * tiles, kTileThreads, kShared, stream},
          query_kernel<Tile>, args, statistics, group, tiles);
    });
  });
}

void key_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream) {
  visit_tile(args.shape.d, [&]<class Tile>() {
    constexpr int kRows = 2 * kBackwardRows<Tile::kChannels>;
    constexpr size_t kShared = 2 * Tile::size(kTileRows) + 2 * Tile::size(kRows) + 2 * shared_size<float>(kRows);
    with_query_slices<bfloat16, kTileRows>(args.shape, args.grad_k, args.grad_v, stream,
                                           [&](const HeadGroup& group, int64_t pieces, const QuerySlices& slices) {
                                             launch(
                                                 {"attention_key_gradients_tensor_core",
                                                  args.shape.B * group.count * pieces, kTileThreads, kShared, stream},
                                                 key_kernel<Tile>, args, statistics, slices, group, pieces);
                                           });
  });
}

}  // namespace ratel::cuda::tensor_core
