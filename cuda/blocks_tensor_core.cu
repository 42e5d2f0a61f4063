// Attention over top-k blocks on the tensor cores, for many queries at once (block_tiles.h). Three kernels:
//
//   score     a block of four warps has 64 queries and 64 blocks of keys: products of the queries with what is known of
//             the blocks, to the queries' lists. Sums of keys (mean) are in f32: they go as the sum of three bf16,
//             which is exact to 2^-24. The bound of minmax is two products, of q's positive channels with the greatest
//             keys and of its negative ones with the least
//   choose    a warp a query: its list becomes the blocks that it sees, in rising order, its own the last
//             (block_selection.h)
//   attend    a block of four warps has 64 queries and walks the blocks that any of them sees, once, whose keys arrive
//             by cp.async, 32 at a time, while the tensor cores work on those before; a warp passes over keys that none
//             of its 16 queries sees. The queries' lists are merged as it goes: a lane has the next entries of two, the
//             least of all is the next block
//
// Lists are as long as there are blocks: tiles of queries are taken so many at a time that all lists stay below 256
// MiB.
//
// Bytes a query: 4 T / D written, and read a few times from the caches, for the list; K and V once for every tile of 64
// queries, from the second-level cache. Flops: 2 d T / D a query to choose (6 d mean, 4 d minmax), 4 d a key that a
// tile sees: between K D and 64 K D a query, near the first where neighbours choose alike. Bound by the tensor cores,
// as dilated attention of that many keys is. Measured on an H100 at 8 x 16 x 4096 x 128, D = 64, K = 8, of queries
// that choose at random, so that every tile sees every block: 3.1 ms, and 512 tokens of a prompt over 32768, K = 16:
// 0.23 to 0.27, by the score; a warp a query took 43 and 2.1 to 2.8.

#include <algorithm>
#include <initializer_list>

#include "cuda/attention_tile.h"
#include "cuda/attention_tile_parts.h"
#include "cuda/block_selection.h"
#include "cuda/block_tiles.h"
#include "cuda/scratch.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda::tensor_core {
namespace {

constexpr int kKeys = 32, kStages = 3;  // of a tile of keys, a lane each; and as many tiles on their way or in use
constexpr int kScored = 64;             // blocks of keys that a block of threads scores
constexpr uint32_t kNone = ~uint32_t{0};

using List = OrderedScore<float>;

/// Some tiles of queries, and a list of list_size entries, an even number, for each of their rows.
struct TileLists {
  int64_t tiles_of_head, first, count;
  List* lists;
  int64_t list_size;
};

/// The n-th tile of them: queries begin, ... of a head of a sequence, `rows` of them, the first at `position` of the
/// sequence. All rows at or above 0 below its count are.
struct QueryTile {
  int64_t b;
  int head, begin, position, rows;
  List* lists;

  __device__ QueryTile(const BlockTiles& args, const TileLists& of, int64_t n) {
    const int64_t tile = of.first + n, index = tile / of.tiles_of_head;
    b = index / args.count;
    head = static_cast<int>(index % args.count);
    begin = static_cast<int>(of.tiles_of_head - 1 - tile % of.tiles_of_head) * kTileRows;  // those with most keys first
    position = begin + (args.lengths == nullptr ? 0 : static_cast<int>(args.lengths[b]));
    rows = static_cast<int>(smaller(kTileRows, (args.counts == nullptr ? args.n : args.counts[b]) - begin));
    lists = of.lists + n * kTileRows * of.list_size;
  }
};

/// Blocks before a query's own, and whether it sees all of them.
struct EarlierBlocks {
  int own;
  bool all_seen;
  __device__ EarlierBlocks(const BlockTiles::Head& head, int position)
      : own(position / head.block), all_seen(own - 1 <= head.most - 2) {}
};

__device__ inline HeadRows<const bfloat16> rows_of(const void* data, int64_t before, int64_t time) {
  return {static_cast<const bfloat16*>(data) + before, time};
}

/// x as the sum of three bf16, each the rounded rest: parts[0] + parts[1] + parts[2]. What is no number has no rest.
__device__ inline void split(float x, bfloat16 (&parts)[3]) {
  for (bfloat16& part : parts) {
    part = round_to_bf16(x);
    x -= static_cast<float>(part);
    if (!(x == x)) x = 0;
  }
}

/// Those channels of a row's fragment that are negative, or those that are not; zeros in their places.
enum class Sign { negative, positive };
__device__ inline FragmentA only(Sign sign, FragmentA a) {
  for (uint32_t& pair : a.at) {
    const uint32_t negative = (pair >> 15 & 0x00010001u) * 0xffffu;
    pair &= sign == Sign::negative ? negative : ~negative;
  }
  return a;
}

/// Parts of what is known of a block: bf16 rows, each with a product of its own.
__host__ __device__ constexpr int parts_of(BlockScore score) {
  return score == BlockScore::last ? 1 : score == BlockScore::mean ? 3 : 2;
}

template <int d>
__global__ __launch_bounds__(kTileThreads, 3) void score_kernel(BlockTiles args, TileLists lists, int groups) {
  SharedArena arena;
  const RowTile<d> queries(arena, kTileRows);
  const QueryTile tile(args, lists, block_index().x / groups);
  const BlockTiles::Head head = args.heads[tile.head];
  const RowTile<d> known(arena, parts_of(head.score) * kScored);
  const int first = block_index().x % groups * kScored;
  const EarlierBlocks of_last(head, tile.position + tile.rows - 1);
  if (tile.rows <= 0 || of_last.all_seen || head.most == 2 || first >= of_last.own) return;

  const auto q = head_rows<bfloat16>(args.q, tile.b, head.h);
  const int blocks = smaller(kScored, of_last.own - first);
  queries.template begin_load<kTileRows>(tile.rows, q[tile.begin], q.step);
  if (head.score == BlockScore::last) {
    const auto k = rows_of(args.keys, tile.b * args.keys_batch + head.keys, args.keys_time);
    known.template begin_load<kScored>(blocks, k[static_cast<int64_t>(first + 1) * head.block - 1],
                                       head.block * k.step);
  }
  commit_copies();
  if (head.score != BlockScore::last) {
    constexpr int kPieces = d / 4, kOf = kPerVec<float>;
    const bool is_mean = head.score == BlockScore::mean;
    const float* const rows = args.summaries + tile.b * head.summaries_batch + head.summaries;
    for (int i = thread_index().x; i < kScored * kPieces; i += kTileThreads) {
      const int row = i / kPieces, channel = i % kPieces * kOf;
      Vec<bfloat16, kOf> parts[3] = {};
      if (row < blocks) {
        const float* const from = rows + static_cast<int64_t>(first + row) * (is_mean ? d : 2 * d) + channel;
        const auto sums = load_vec<kOf>(from);
        if (is_mean) {
          for (int c = 0; c < kOf; ++c) {
            bfloat16 of_channel[3];
            split(sums.at[c], of_channel);
            for (int part = 0; part < 3; ++part) parts[part].at[c] = of_channel[part];
          }
        } else {
          const auto greatest = load_vec<kOf>(from + d);
          for (int c = 0; c < kOf; ++c) {  // keys, which bf16 holds
            parts[0].at[c] = round_to_bf16(sums.at[c]);
            parts[1].at[c] = round_to_bf16(greatest.at[c]);
          }
        }
      }
      for (int part = 0; part < parts_of(head.score); ++part)
        known.data().store(RowTile<d>::at(part * kScored + row, channel), parts[part]);
    }
  }
  wait_copies<0>();
  sync_block();

  FragmentC scores[kScored / 8] = {};
  const auto of_queries = [&](int c) { return queries.left(warp_index() * 16, c); };
  if (head.score == BlockScore::minmax) {
    add_products<kScored, 2>(
        scores, [&](int c) { return only(Sign::negative, of_queries(c)); }, known);
    add_products<kScored, 2>(
        scores, [&](int c) { return only(Sign::positive, of_queries(c)); }, known.behind(kScored));
  } else {
    for (int part = parts_of(head.score) - 1; part >= 0; --part)  // the least first
      add_products<kScored, 2>(scores, of_queries, known.behind(part * kScored));
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = fragment_row(half);
    const EarlierBlocks earlier(head, tile.position + row);
    if (row >= tile.rows || earlier.all_seen) continue;
    List* const list = tile.lists + row * lists.list_size + first;
#pragma unroll
    for (int n = 0; n < kScored / 8; ++n) {
      const int block = fragment_column(n);
      if (first + block < earlier.own)
        store_vec(list + block, Vec<List, 2>{{ordered(scores[n].at[2 * half]), ordered(scores[n].at[2 * half + 1])}});
    }
  }
}

__global__ __launch_bounds__(kTileThreads) void choose_kernel(BlockTiles args, TileLists lists) {
  const int64_t row = static_cast<int64_t>(block_index().x) * warp_count() + warp_index();
  const QueryTile tile(args, lists, row / kTileRows);
  const int r = static_cast<int>(row % kTileRows);
  if (r >= tile.rows) return;
  const BlockTiles::Head& head = args.heads[tile.head];
  const EarlierBlocks earlier(head, tile.position + r);
  List* const list = tile.lists + r * lists.list_size;
  if (earlier.all_seen) {
    for (int block = lane_index(); block <= earlier.own; block += kWarp) list[block] = static_cast<List>(block);
    return;
  }
  choose_blocks(list, earlier.own, head.most - 2);
  if (lane_index() == 0) list[head.most - 1] = static_cast<List>(earlier.own);
}

/// The keys of the blocks that any query of a tile sees, in rising order, up to 32 at a time, a lane each. Every warp
/// has all of it, and of the queries its own.
class SeenKeys {
 public:
  __device__ SeenKeys(const BlockTiles::Head& head, const QueryTile& tile, int64_t list_size)
      : block_size_(head.block), end_of_all_(tile.position + tile.rows), first_(tile.position + warp_index() * 16) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = lane_index() + half * kWarp;
      list_[half] = tile.lists + r * list_size;
      left_[half] = r < tile.rows ? smaller(head.most, (tile.position + r) / head.block + 1) : 0;
      next_[half] = entry(half);
      after_[half] = entry(half);
    }
  }

  struct Tile {
    int count = 0, first = 0;  // of all lanes; the first lane's key
    bool in_a_row = true;      // the others' are the next
    int key = 0;               // of this lane, where it has one
    uint32_t shown_to = 0;     // a bit each of the warp's 16 queries
    __device__ bool is_shown_to_all() const { return all(shown_to == 0xffff); }
  };
  /// Without keys at the end.
  __device__ Tile take() {
    Tile tile;
    while (tile.count < kKeys) {
      if (key_ == end_ && !begin_block()) break;
      if (tile.count == 0) tile.first = key_;
      tile.in_a_row = tile.in_a_row && key_ == tile.first + tile.count;
      const int taken = smaller(kKeys - tile.count, end_ - key_), mine = lane_index() - tile.count;
      if (mine >= 0 && mine < taken) {
        tile.key = key_ + mine;
        tile.shown_to = queries_ & ~ones_below<uint32_t>(larger(0, smaller(tile.key - first_, 16)));
      }
      key_ += taken;
      tile.count += taken;
    }
    return tile;
  }

 private:
  __device__ uint32_t entry(int half) {
    if (left_[half] == 0) return kNone;
    --left_[half];
    return *list_[half]++;
  }
  /// The least of the lists' next entries, which those lists that begin with it give up.
  __device__ bool begin_block() {
    const uint32_t block = ~warp_max(~smaller(next_[0], next_[1]));
    if (block == kNone) return false;
    const uint32_t low = ballot(next_[0] == block), high = ballot(next_[1] == block);
    queries_ = (warp_index() < 2 ? low : high) >> warp_index() % 2 * 16 & 0xffff;
    key_ = static_cast<int>(block) * block_size_;
    end_ = smaller(key_ + block_size_, end_of_all_);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (next_[half] != block) continue;
      next_[half] = after_[half];
      after_[half] = entry(half);
    }
    return true;
  }

  int block_size_, end_of_all_, first_;  // first_: the position of the warp's first query
  int key_ = 0, end_ = 0;                // what is left of the block at hand
  uint32_t queries_ = 0;                 // which of the warp's see it
  const List* list_[2];
  int left_[2];
  uint32_t next_[2], after_[2];  // loaded a block ahead
};

template <int d>
__global__ __launch_bounds__(kTileThreads, 3) void attend_kernel(BlockTiles args, TileLists lists) {
  SharedArena arena;
  const RowTile<d> queries(arena, kTileRows), key_tiles(arena, kStages * kKeys), value_tiles(arena, kStages * kKeys);
  const QueryTile tile(args, lists, block_index().x);
  const BlockTiles::Head& head = args.heads[tile.head];
  const auto to = head_rows<bfloat16>(args.out, tile.b, head.h);
  clear_rows<d>(to, tile.begin, larger(0, tile.rows), args.n);
  if (tile.rows <= 0) return;
  const auto q = head_rows<bfloat16>(args.q, tile.b, head.h), gate = head_rows<bfloat16>(args.gate, tile.b, head.h),
             k = rows_of(args.keys, tile.b * args.keys_batch + head.keys, args.keys_time),
             v = rows_of(args.values, tile.b * args.values_batch + head.values, args.values_time);
  SeenKeys seen(head, tile, lists.list_size);
  const auto fetch = [&](int n) {
    const SeenKeys::Tile keys = seen.take();
    const RowTile<d> into_keys = key_tiles.behind(n % kStages * kKeys),
                     into_values = value_tiles.behind(n % kStages * kKeys);
    if (keys.count > 0 && keys.in_a_row) {
      into_keys.template begin_load<kKeys>(keys.count, k[keys.first], k.step);
      into_values.template begin_load<kKeys>(keys.count, v[keys.first], v.step);
    } else if (keys.count > 0) {
      begin_gather<kKeys>(into_keys, keys.count, [&](int r) { return k[shuffle(keys.key, r)]; });
      begin_gather<kKeys>(into_values, keys.count, [&](int r) { return v[shuffle(keys.key, r)]; });
    }
    commit_copies();  // an empty group at the end: what is under way is counted in groups
    return keys;
  };
  queries.template begin_load<kTileRows>(tile.rows, q[tile.begin], q.step);
  SeenKeys::Tile now = fetch(0), next = fetch(1);

  RunningSoftmax<d> softmax;
  for (float& largest : softmax.largest) largest = std::numeric_limits<float>::lowest();
#pragma unroll
  for (FragmentC& sums : softmax.out) sums = {};
  for (int n = 0; now.count > 0; ++n) {
    wait_copies<1>();
    sync_block();
    const SeenKeys::Tile after = fetch(n + 2);
    if (any(now.shown_to != 0)) {
      const int from = n % kStages * kKeys;
      FragmentC scores[kKeys / 8];
      multiply_tile<kKeys>(scores, queries, key_tiles.behind(from));
      if (!now.is_shown_to_all()) {
        const int row = lane_index() / 4;
#pragma unroll
        for (int at = 0; at < kKeys / 4; ++at) {
          const uint32_t shown_to = shuffle(now.shown_to, fragment_column(at / 2) + at % 2);
#pragma unroll
          for (int half = 0; half < 2; ++half)
            if ((shown_to >> (row + 8 * half) & 1) == 0)
              scores[at / 2].at[2 * half + at % 2] = -std::numeric_limits<float>::infinity();
        }
      }
      softmax.template add<kKeys>(scores, value_tiles.behind(from));
    }
    now = next;
    next = after;
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) softmax.divide(half);
  wait_copies<0>();
  store_rows<d>(softmax.out, queries, [&](int r, int channel, Vec<bfloat16, 8> values) {
    if (r >= tile.rows) return;
    if (gate.data != nullptr) {
      const auto gates = load_vec<8>(gate[tile.begin + r] + channel);
      for (int i = 0; i < 8; ++i)
        values.at[i] = round_to_bf16(static_cast<float>(values.at[i]) * fast_sigmoid(static_cast<float>(gates.at[i])));
    }
    store_vec(to[tile.begin + r] + channel, values);
  });
}

template <int d>
void attend(const BlockTiles& args, Stream stream, int64_t most_entries) {
  int64_t earlier = 0;  // blocks of keys before a query's own
  int parts = 1;
  for (int n = 0; n < args.count; ++n) {
    earlier = std::max(earlier, (args.most_keys - 1) / args.heads[n].block);
    parts = std::max(parts, parts_of(args.heads[n].score));
  }
  TileLists lists{tiles_of(args.n, kTileRows), 0, 0, nullptr, (earlier + 2) / 2 * 2};
  const int64_t tiles = args.B * args.count * lists.tiles_of_head, groups = tiles_of(earlier, kScored);
  const int64_t at_once = std::clamp<int64_t>(most_entries / (kTileRows * lists.list_size), 1, tiles);
  const Scratch<List> entries(at_once * kTileRows * lists.list_size, stream);
  lists.lists = entries.get();
  for (; lists.first < tiles; lists.first += at_once) {
    lists.count = std::min(at_once, tiles - lists.first);
    if (groups > 0)
      launch({"block_scores_tensor_core", lists.count * groups, kTileThreads,
              RowTile<d>::size(kTileRows) + RowTile<d>::size(parts * kScored), stream},
             score_kernel<d>, args, lists, static_cast<int>(groups));
    launch({"choose_blocks", lists.count * kTileRows / (kTileThreads / kWarp), kTileThreads, 0, stream}, choose_kernel,
           args, lists);
    launch({"block_attention_tensor_core", lists.count, kTileThreads,
            RowTile<d>::size(kTileRows) + 2 * RowTile<d>::size(kStages * kKeys), stream},
           attend_kernel<d>, args, lists);
  }
}

}  // namespace

bool takes(const BlockTiles& tiles, DType dtype) {
  constexpr int64_t kQuarterTile = kTileRows / 4;
  const auto fits = [&](const AttentionOperand& rows) { return rows_are_vectorisable<bfloat16>(tiles.d, rows); };
  return dtype == DType::bf16 && (tiles.d == 64 || tiles.d == 128) && tiles.n >= kQuarterTile &&
         tiles.most_keys < int64_t{1} << 29 && fits(tiles.q) && fits(operand_of(tiles.out)) && fits(tiles.gate) &&
         fits({tiles.keys, tiles.keys_batch, 0, tiles.keys_time}) &&
         fits({tiles.values, tiles.values_batch, 0, tiles.values_time}) && is_vectorisable<float>(0, tiles.summaries) &&
         std::all_of(tiles.heads, tiles.heads + tiles.count, [](const BlockTiles::Head& head) {
           return head.keys % kPerVec<bfloat16> == 0 && head.values % kPerVec<bfloat16> == 0;
         });
}

void attend_blocks(const BlockTiles& tiles, Stream stream, int64_t most_entries) {
  if (tiles.d == 64)
    attend<64>(tiles, stream, most_entries);
  else
    attend<128>(tiles, stream, most_entries);
}

}  // namespace ratel::cuda::tensor_core
