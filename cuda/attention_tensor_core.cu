// Dilated attention on the tensor cores, forward: bf16, d = 64 or 128, rows that begin at multiples of 16 bytes. A
// block of four warps has 64 queries and walks the tiles of keys that meet them, which arrive by cp.async while the
// tensor cores work on the one before; dilated keys are rows D apart, fetched as any others. A query's softmax begins
// with its own key (m = s_ii, l = 1, o = v_i), the diagonal of the first product. All sums, softmax and statistics are
// f32; probabilities are rounded to bf16 for the second product, whose left operand they already lie in registers as.
//
// Products are those of warps (RowTile) or, on compute capability 9.0, of warpgroups (SwizzledTile), whose operands no
// instruction loads from shared memory: the same kernels on other tiles; set_attention_products() says which.
//
// Flops a pair that meet: 4 d. Bytes a token and channel: 8 (q, own k and v, out; 10 with a gate), and the other keys,
// 4/D, from the L2 cache. Bytes bind up to T ~ 14K at D = 16, then the tensor cores.
//
// Measured on an H100 at 8 x 16 x 4096 x 128, D = 16 and 64, of 178 us that the bytes take at the rate of a copy, at
// the clock of a cool card: 220 and 182 us by products of warpgroups, 270 and 190 by those of warps. At D = 16 a tile
// of 32 keys takes a multiprocessor 720 cycles by those of warps: shared memory's, of which 160 ldmatrix take 640 and
// the copies 128. By products of warpgroups it is read in 256.

#include <cmath>
#include <limits>
#include <type_traits>

#include "cuda/attention_sources.h"
#include "cuda/attention_tensor_core.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda::tensor_core {
namespace {

/// Rows of a tile of keys. Three blocks fit a multiprocessor (two, of 68 KiB, of sm_80 where d = 128).
constexpr int kKeys = 32;
/// Of those that a block walks, as many are on their way or being used.
constexpr int kStages = 3;

/// Blocks on a multiprocessor, where its shared memory holds so many; they leave a thread 168 or 255 registers.
template <class Source>
constexpr int kForwardBlocks = std::is_same_v<Source, CallKeys> ? 3 : 2;

template <class Tile, class Source>
__device__ inline void attend(const AttentionForwardArgs& args, const HeadGroup& group, int64_t tiles,
                              const Source& source) {
  constexpr int d = Tile::kChannels;
  SharedArena arena;
  const Tile queries(arena, kTileRows), key_tiles(arena, kStages * kKeys), value_tiles(arena, kStages * kKeys);
  const BlockOfHead block(group, args.shape, static_cast<int>(tiles), heads_together(group, args.shape, args.q));
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
  if (args.turns.data != nullptr)
    turn_rows<d>(queries, rows, turns_of(args.turns, block, args.shape, begin), [](int, int, auto) {});

  const int own = kKeys + warp_index() * 16;
  FragmentC own_scores[2];
  multiply_rows<16>(own_scores, queries, warp_index() * 16, key_tiles.behind(own));
  RunningSoftmax<d> softmax;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    softmax.largest[half] = softmax.scale * diagonal(own_scores, half);
    softmax.total[half] = lane_index() % 4 == 0 ? 1.0f : 0.0f;  // each lane sums its own columns
  }
  start_from_tile<d>(softmax.out, value_tiles, own, {1, 1});

  for (int n = 0; n < tiles_of_keys; ++n) {
    settle<Tile, 1>();
    const int from = n % kStages * kKeys;
    FragmentC scores[kKeys / 8];
    begin_multiplying<kKeys>(scores, queries, key_tiles.behind(from));
    for (int next = n == 0 ? 1 : n + 2; next <= n + 2; ++next)
      if (next < tiles_of_keys)
        begin_load(next);
      else
        commit_copies();
    await<Tile, 0>(scores);
    hide_unseen<kKeys>(scores, keys[n], begin);
    softmax.template add<kKeys>(scores, value_tiles.behind(from));
  }

  const auto gate = head_rows<bfloat16>(args.gate, block.b, block.h);
  Vec<bfloat16, 8> gates[d / 16] = {};  // all asked for at once: one after the other they took a third of the time
  if (args.gated.data != nullptr)
    for_each_piece<d>(
        [&](int n, int r, int channel) { gates[n] = load_vec<8>(gate[begin + smaller(r, rows - 1)] + channel); });
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
  round_rows<d>(softmax.out, queries);
  for_each_piece<d>([&](int n, int r, int channel) {
    auto values = queries.data().template load<8>(queries.at(r, channel));
    if (r >= rows) return;
    if (to.data != nullptr) store_vec(to[begin + r] + channel, values);
    if (gated.data == nullptr) return;
    for (int i = 0; i < 8; ++i)
      values.at[i] = round_to_bf16(static_cast<float>(values.at[i]) * fast_sigmoid(static_cast<float>(gates[n].at[i])));
    store_vec(gated[begin + r] + channel, values);
  });
}

template <class Tile, class Source>
__global__ __launch_bounds__(kTileThreads, kForwardBlocks<Source>) void forward_kernel(AttentionForwardArgs args,
                                                                                       HeadGroup group, int64_t tiles,
                                                                                       Source source) {
  if constexpr (Tile::kExists)
    attend<Tile>(args, group, tiles, source);
  else
    trap();
}

template <class Source>
void launch_forward(const char* name, const AttentionForwardArgs& args, const HeadGroup& group, const Source& source,
                    Stream stream) {
  const int64_t tiles = tiles_of(args.shape.T, kTileRows);
  visit_tile(args.shape.d, [&]<class Tile>() {
    constexpr size_t kShared = Tile::size(kTileRows) + 2 * Tile::size(kStages * kKeys);
    launch({name, args.shape.B * group.count * tiles, kTileThreads, kShared, stream}, forward_kernel<Tile, Source>,
           args, group, tiles, source);
  });
}

}  // namespace

bool takes(const AttentionForwardArgs& args) {
  return takes(args.shape, {args.q, args.k, args.v, operand_of(args.out), args.gate, operand_of(args.gated)});
}
bool takes(const AttentionForwardArgs& args, const CachedAttentionArgs& cache) {
  return takes(args) && cache.capacity < int64_t{1} << 29 && is_vectorisable<bfloat16>(0, cache.keys, cache.values);
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

}  // namespace ratel::cuda::tensor_core
