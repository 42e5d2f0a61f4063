// Dilated attention on the tensor cores, backward, of what forward takes (attention_tensor_core.cu), by the same tiles
// and products. A block of four warps has 64 queries (the queries' gradients) or 64 keys (the keys' and values') and
// walks the tiles that meet them. The query kernel begins with the terms of the own keys, and writes the gradients of
// keys that no other query sees, or leaves their terms to the caller (AttentionBackwardArgs::own). Sums are f32; score
// gradients are rounded to bf16 for the second product.
//
// Flops a pair that meet: query gradients 6 d, key gradients 8 d. Bytes a token and channel where W = 0: 10 read and 6
// written by the query kernel, of a layer with its gate 12 and 8; and q and grad_out again by the key kernel, 4, once
// for every 64 far keys, from the cache but for the first time.
//
// What follows from a tile's first product runs beside its second, and what follows from that beside the sums of the
// first.
//
// Measured on an H100 at 8 x 16 x 4096 x 128, D = 16 and 64, of 380 us that the bytes take, at the clock of a cool
// card: the query kernel 392 and 373 us, at 2.7 TB/s, and the key kernel 170 and 105 by products of warpgroups; by
// those of warps, which shared memory binds, half and a tenth more in all. The 170 are at 80% of what the second-level
// cache can give and 56% of the tensor cores. Blocks of two warpgroups that share the tiles of queries took 205 where
// they were 180.

#include <cmath>

#include "cuda/attention_slices.h"
#include "cuda/attention_tensor_core.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda::tensor_core {
namespace {

/// Keys of the tiles that a block of queries walks. Two of them and the block's rows are 65 KiB.
template <class Tile>
constexpr int kKeysOfTile = Tile::kChannels == 64 ? 64 : 32;

/// Blocks of a multiprocessor at least: their loads and their own rows' work lie beside one another. Fragments that a
/// warp holds leave registers to two.
template <class Tile>
constexpr int kQueryBlocks = Tile::kOfWarpgroup || Tile::kChannels == 64 ? 3 : 2;

template <class Tile>
__device__ inline void add_query_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics,
                                           const HeadGroup& group, int64_t tiles) {
  constexpr int d = Tile::kChannels, N = kKeysOfTile<Tile>;
  SharedArena arena;
  const Tile queries(arena, kTileRows), grads(arena, kTileRows), key_tiles(arena, 2 * N), value_tiles(arena, 2 * N);
  const OwnTerms own(arena);
  const BlockOfHead block(group, args.shape, static_cast<int>(tiles), heads_together(group, args.shape, args.q));
  const int begin = static_cast<int>(tiles - 1 - block.piece) * kTileRows;
  const int rows = static_cast<int>(smaller(kTileRows, args.shape.T - begin));
  const auto q = head_rows<bfloat16>(args.q, block.b, block.h), k = head_rows<bfloat16>(args.k, block.b, block.h),
             v = head_rows<bfloat16>(args.v, block.b, block.h),
             grad = head_rows<bfloat16>(args.grad_out, block.b, block.h);
  const KeyTiles<N, int> keys(PatternOf<int>(block.pattern), begin, begin + rows);
  const int tiles_of_keys = keys.count();
  const auto begin_load = [&](int n) {
    if (n >= tiles_of_keys) return;
    const KeyTile<int> tile = keys[n];
    begin_load_of<N>(n % 2 * N, tile.count, key_tiles, {k[tile.first], k.step * tile.step}, value_tiles,
                     {v[tile.first], v.step * tile.step});
  };
  // All that the block's own rows need is asked for at once; their keys take the places of both tiles.
  queries.template begin_load<kTileRows>(rows, q[begin], q.step);
  grads.template begin_load<kTileRows>(rows, grad[begin], grad.step);
  static_assert(kTileRows <= 2 * N);
  begin_load_of<kTileRows>(0, rows, key_tiles, {k[begin], k.step}, value_tiles, {v[begin], v.step});
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
  wait_copies<0>();
  sync_block();

  const float scale = 1 / std::sqrt(static_cast<float>(d));
  const int first_row = warp_index() * 16;
  if (is_gated)
    ungate_rows<d>(own, args, block, begin, rows, out_rows, gate_rows, grads);
  else
    find_deltas<d>(own, grads, out_rows);
  find_slopes<d>(own, grads, value_tiles);
  if (const auto rotated = head_rows<bfloat16>(args.rotated, block.b, block.h); rotated.data != nullptr)
    turn_rows<d>(queries, rows, turns_of(args.turns, block, args.shape, begin),
                 [&](int r, int channel, const auto& row) {
                   if (r < rows) store_vec(rotated[begin + r] + channel, row);
                 });
  const Held<Tile> held_queries(queries), held_grads(grads);
  FragmentC own_scores[2];
  multiply_rows<16>(own_scores, queries, first_row, key_tiles.behind(first_row));
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
  start_from_tile<d>(grad_q, key_tiles, first_row, own_ds);
  sync_block();
  begin_load(0);
  if (block.pattern.window == 0 && args.own.p == nullptr) {  // near keys are seen by their own queries alone
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
    settle<Tile, 0>();
    const int from = n % 2 * N;
    FragmentC scores[N / 8], slopes[N / 8];
    begin_multiplying<N>(scores, held_queries, key_tiles.behind(from));
    begin_multiplying<N>(slopes, held_grads, value_tiles.behind(from));
    begin_load(n + 1);
    await<Tile, 1>(scores);
    hide_unseen<N>(scores, keys[n], begin);
#pragma unroll
    for (int at = 0; at < N / 2; ++at) {
      float& p = scores[at / 4].at[at % 4];
      p = fast_exp2(p * (scale * kLog2e) - lse[at % 4 / 2]);
    }
    await<Tile, 0>(slopes);
#pragma unroll
    for (int at = 0; at < N / 2; ++at) {
      float& slope = slopes[at / 4].at[at % 4];
      slope = scale * scores[at / 4].at[at % 4] * (slope - delta[at % 4 / 2]);
    }
    add_weighted_rows<N>(grad_q, slopes, key_tiles.behind(from));
  }
  if constexpr (Tile::kOfWarpgroup) sync_block();  // which reads the queries where the gradients go to
  if (args.turns.data != nullptr)
    turn_back<d>(grad_q, [&](int half) {
      return turns_of(args.turns, block, args.shape, begin) + smaller(fragment_row(half), rows - 1) * d;
    });
  const auto to = head_rows<bfloat16>(args.grad_q, block.b, block.h);
  store_rows<d>(grad_q, queries, [&](int r, int channel, const Vec<bfloat16, 8>& values) {
    if (r < rows) store_vec(to[begin + r] + channel, values);
  });
}

template <class Tile>
__global__ __launch_bounds__(kTileThreads, kQueryBlocks<Tile>) void query_kernel(AttentionBackwardArgs args,
                                                                                 AttentionStatistics statistics,
                                                                                 HeadGroup group, int64_t tiles) {
  if constexpr (Tile::kExists)
    add_query_gradients<Tile>(args, statistics, group, tiles);
  else
    trap();
}

/// Where the rows begin that a block writes at its end, in shared memory: registers are for its sums.
class RowsOfBlock {
 public:
  enum At { grad_k, grad_v, count };
  __device__ explicit RowsOfBlock(SharedArena& arena) : pointers_(arena.take<uint64_t>(count)) {}
  template <class T>
  __device__ void put(At at, T* rows) const {
    pointers_[at] = reinterpret_cast<uintptr_t>(rows);
  }
  template <class T>
  __device__ T* get(At at) const {
    return reinterpret_cast<T*>(static_cast<uintptr_t>(pointers_[at]));
  }
  static constexpr size_t size() { return shared_size<uint64_t>(count); }

 private:
  Shared<uint64_t> pointers_;
};

/// Queries of the tiles that a block of keys walks, two of which are on their way or in use, and those that it works on
/// at once. Of a warp that holds its keys in registers sixteen leave enough of them.
template <class Tile>
constexpr int kQueriesOfTile = Tile::kOfWarpgroup || Tile::kChannels == 64 ? 64 : 32;
template <class Tile>
constexpr int kQueriesAtOnce = Tile::kOfWarpgroup ? 64 : 16;
/// Channels of its values that such a warp holds too, as many as registers are left.
template <int d>
constexpr int kHeldValues = d == 64 ? d : d - 96;

template <class Tile>
__device__ inline void add_key_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics,
                                         const QuerySlices& slices, const HeadGroup& group, const KeyPieces& pieces) {
  constexpr int d = Tile::kChannels, N = kQueriesOfTile<Tile>, kPart = kQueriesAtOnce<Tile>;
  static_assert(kTileRows <= 2 * N && 2 * N <= kTileThreads);
  SharedArena arena;
  const Tile keys(arena, kTileRows), values(arena, kTileRows), query_tiles(arena, 2 * N), grad_tiles(arena, 2 * N);
  const Shared<float> lse = arena.take<float>(2 * N), delta = arena.take<float>(2 * N);
  const Shared<int> key = arena.take<int>(kTileRows);  // of a row
  const RowsOfBlock rows(arena);
  const BlockOfHead block(group, args.shape, static_cast<int>(pieces.count), static_cast<int>(pieces.heads_of_round));
  const OwnedKeys<kTileRows, int> owned(PatternOf<int>(block.pattern), static_cast<int>(args.shape.T),
                                        static_cast<int>(block.piece), slices);
  if (owned.count == 0) return;
  if (const int r = thread_index().x; r < kTileRows) key[r] = owned.key(smaller(r, owned.count - 1));
  const auto q = head_rows<bfloat16>(args.q, block.b, block.h), k = head_rows<bfloat16>(args.k, block.b, block.h),
             v = head_rows<bfloat16>(args.v, block.b, block.h),
             grad = head_rows<bfloat16>(args.grad_out, block.b, block.h);
  const bool is_slice = owned.far && slices.count > 1;  // whose sums others are added to
  if (thread_index().x == 0) {
    if (is_slice) {
      const int64_t row =
          ((owned.slice * args.shape.B + block.b) * args.shape.H + block.h) * slices.far_keys + owned.first;
      rows.put(RowsOfBlock::grad_k, static_cast<float*>(slices.grad_k) + row * d);
      rows.put(RowsOfBlock::grad_v, static_cast<float*>(slices.grad_v) + row * d);
    } else {
      rows.put(RowsOfBlock::grad_k, head_rows<bfloat16>(args.grad_k, block.b, block.h).data);
      rows.put(RowsOfBlock::grad_v, head_rows<bfloat16>(args.grad_v, block.b, block.h).data);
    }
  }
  const int tiles = tiles_of(larger(0, owned.query_end - owned.query_begin), N);
  const bool rises = block.round % 2 != 0;  // key_pieces() says why
  const int to_next = rises ? N : -N;
  int tile_begin = owned.query_begin + (rises ? 0 : larger(0, tiles - 1) * N);
  // Queries from the one to the other see all of the block's keys.
  const int seen_from = owned.key(owned.count - 1) + 1,
            seen_to = smaller(owned.query_end, owned.last_query(owned.key(0)) + 1);
  // The next tile's rows, and its lse or delta that this thread fetches: addresses that move from tile to tile.
  const bfloat16 *next_queries = q[tile_begin], *next_grads = grad[tile_begin];
  const int number = thread_index().x % N;
  const bool has_lse = static_cast<int>(thread_index().x) < N;
  const float* next_number =
      static_cast<const float*>(has_lse ? args.lse : statistics.delta) + block.row + tile_begin + number;
  const auto begin_load = [&](int n, int first) {
    const int into = n % 2 * N, count = smaller(N, owned.query_end - first);
    query_tiles.behind(into).template begin_load<N>(count, next_queries, static_cast<int>(args.q.time));
    grad_tiles.behind(into).template begin_load<N>(count, next_grads, static_cast<int>(args.grad_out.time));
    if (static_cast<int>(thread_index().x) < 2 * N)
      copy_async_4(has_lse ? lse : delta, into + number, next_number, number < count);
    commit_copies();
    next_queries += static_cast<int64_t>(to_next) * static_cast<int>(args.q.time);
    next_grads += static_cast<int64_t>(to_next) * static_cast<int>(args.grad_out.time);
    next_number += to_next;
  };
  sync_block();
  begin_gather<kTileRows>(keys, owned.count, [&](int r) { return k[key[r]]; });
  begin_gather<kTileRows>(values, owned.count, [&](int r) { return v[key[r]]; });
  commit_copies();
  const float scale = 1 / std::sqrt(static_cast<float>(d));
  FragmentC grad_k[d / 8] = {}, grad_v[d / 8] = {};
  if (owned.slice == 0) {  // which has the terms of the keys' own queries, that take the places of the tiles
    begin_gather<kTileRows>(query_tiles, owned.count, [&](int r) { return q[key[r]]; });
    begin_gather<kTileRows>(grad_tiles, owned.count, [&](int r) { return grad[key[r]]; });
    commit_copies();
    float ds[2], p[2];
    for (int half = 0; half < 2; ++half) {
      ds[half] = static_cast<const float*>(statistics.ds)[block.row + key[fragment_row(half)]] / scale;
      p[half] = static_cast<const float*>(statistics.p)[block.row + key[fragment_row(half)]];
    }
    wait_copies<0>();
    sync_block();
    start_from_tile<d>(grad_k, query_tiles, warp_index() * 16, ds);
    start_from_tile<d>(grad_v, grad_tiles, warp_index() * 16, p);
    sync_block();
  }
  if (tiles > 0) begin_load(0, tile_begin);
  if constexpr (!Tile::kOfWarpgroup) {  // which reads the keys here
    wait_copies<0>();
    sync_block();
  }
  const Held<Tile> held_keys(keys);
  const Held<Tile, kHeldValues<d>> held_values(values);

  for (int n = 0; n < tiles; ++n, tile_begin += to_next) {
    settle<Tile, 0>();
#pragma unroll 1
    for (int part = 0; part < N; part += kPart) {
      const int from = n % 2 * N + part, first = tile_begin + part;
      if (first >= owned.query_end) continue;  // the last tile is ragged
      FragmentC weights[kPart / 8], slopes[kPart / 8];
      begin_multiplying<kPart>(weights, held_keys, query_tiles.behind(from));
      begin_multiplying<kPart>(slopes, held_values, grad_tiles.behind(from));
      if (part == 0 && n + 1 < tiles) begin_load(n + 1, tile_begin + to_next);
      Vec<float, 2> of_queries[kPart / 8];
#pragma unroll
      for (int eight = 0; eight < kPart / 8; ++eight) {
        of_queries[eight] = lse.template load<2>(from + fragment_column(eight));
        of_queries[eight].at[0] *= kLog2e;
        of_queries[eight].at[1] *= kLog2e;
      }
      await<Tile, 1>(weights);
#pragma unroll
      for (int at = 0; at < kPart / 2; ++at) {
        float& weight = weights[at / 4].at[at % 4];
        weight = fast_exp2(weight * (scale * kLog2e) - of_queries[at / 4].at[at % 2]);
      }
      if (first < seen_from || first + kPart > seen_to) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int own = key[fragment_row(half)], last = smaller(owned.query_end - 1, owned.last_query(own));
#pragma unroll
          for (int at = 0; at < kPart / 4; ++at) {
            const int query = first + fragment_column(at / 2) + at % 2;
            if (query <= own || query > last) weights[at / 2].at[2 * half + at % 2] = 0;
          }
        }
      }
      RoundedWeights<kPart> rounded_weights(weights);
      begin_adding(grad_v, rounded_weights, grad_tiles.behind(from));
#pragma unroll
      for (int eight = 0; eight < kPart / 8; ++eight)
        of_queries[eight] = delta.template load<2>(from + fragment_column(eight));
      await<Tile, 1>(slopes);
#pragma unroll
      for (int at = 0; at < kPart / 2; ++at) {
        float& slope = slopes[at / 4].at[at % 4];
        slope = weights[at / 4].at[at % 4] * (slope - of_queries[at / 4].at[at % 2]);  // scaled at the end
      }
      RoundedWeights<kPart> rounded_slopes(slopes);
      begin_adding(grad_k, rounded_slopes, query_tiles.behind(from));
      await<Tile, 0>(grad_v, grad_k, rounded_weights, rounded_slopes);
    }
  }
  wait_copies<0>();
  sync_block();
#pragma unroll
  for (int at = 0; at < d / 2; ++at) grad_k[at / 4].at[at % 4] *= scale;
  if (is_slice) {
    const auto put = [&](const FragmentC(&sums)[d / 8], float* into) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (fragment_row(half) >= owned.count) continue;
        float* const to = into + fragment_row(half) * d;
#pragma unroll
        for (int at = 0; at < d / 8; ++at)
          store_vec(to + fragment_column(at), Vec<float, 2>{{sums[at].at[2 * half], sums[at].at[2 * half + 1]}});
      }
    };
    put(grad_k, rows.template get<float>(RowsOfBlock::grad_k));
    put(grad_v, rows.template get<float>(RowsOfBlock::grad_v));
    return;
  }
  if (args.own.p != nullptr)
    turn_back<d>(grad_k, [&](int half) {
      return turns_of(args.turns, block, args.shape, key[smaller(fragment_row(half), owned.count - 1)]);
    });
  const auto put = [&](RowsOfBlock::At at, int64_t step) {
    const HeadRows<bfloat16> to{rows.template get<bfloat16>(at), step};
    return [&, to](int r, int channel, const Vec<bfloat16, 8>& eight) {
      if (r < owned.count) store_vec(to[key[r]] + channel, eight);
    };
  };
  store_rows<d>(grad_k, keys, put(RowsOfBlock::grad_k, args.grad_k.time));
  store_rows<d>(grad_v, values, put(RowsOfBlock::grad_v, args.grad_v.time));
}

template <class Tile>
__global__ __launch_bounds__(kTileThreads) void key_kernel(AttentionBackwardArgs args, AttentionStatistics statistics,
                                                           QuerySlices slices, HeadGroup group, KeyPieces pieces) {
  if constexpr (Tile::kExists)
    add_key_gradients<Tile>(args, statistics, slices, group, pieces);
  else
    trap();
}

}  // namespace

bool takes(const AttentionBackwardArgs& args) {
  return takes(args.shape, {args.q, args.k, args.v, args.out, args.grad_out, operand_of(args.grad_q),
                            operand_of(args.grad_k), operand_of(args.grad_v), args.gate, operand_of(args.grad_gate),
                            operand_of(args.ungated), operand_of(args.rotated)});
}

void query_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream) {
  const int64_t tiles = tiles_of(args.shape.T, kTileRows);
  visit_tile(args.shape.d, [&]<class Tile>() {
    constexpr size_t kShared = 2 * Tile::size(kTileRows) + 2 * Tile::size(2 * kKeysOfTile<Tile>) + OwnTerms::size();
    for_each_head_group(args.shape, [&](const HeadGroup& group) {
      launch(
          {"attention_query_gradients_tensor_core", args.shape.B * group.count * tiles, kTileThreads, kShared, stream},
          query_kernel<Tile>, args, statistics, group, tiles);
    });
  });
}

void key_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream) {
  visit_tile(args.shape.d, [&]<class Tile>() {
    constexpr int kRows = 2 * kQueriesOfTile<Tile>;
    constexpr size_t kShared = 2 * Tile::size(kTileRows) + 2 * Tile::size(kRows) + 2 * shared_size<float>(kRows) +
                               shared_size<int>(kTileRows) + RowsOfBlock::size();
    with_query_slices<bfloat16, kTileRows>(
        args, stream, [&](const HeadGroup& group, const KeyPieces& pieces, const QuerySlices& slices) {
          launch({"attention_key_gradients_tensor_core", args.shape.B * group.count * pieces.count, kTileThreads,
                  kShared, stream},
                 key_kernel<Tile>, args, statistics, slices, group, pieces);
        });
  });
}

}  // namespace ratel::cuda::tensor_core
