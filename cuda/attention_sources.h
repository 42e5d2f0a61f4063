#pragma once

// Where the forward kernels' keys come from: the rows of the call alone, or those of a cache before them. A source
// names the tiles that a tile of queries needs, what of each its queries see, and where its rows lie. Queries are
// counted from the first of the call.

#include "cuda/attention_keys.h"
#include "cuda/cached_attention_parts.h"

namespace ratel::cuda {

static_assert(kCachedHeadsPerLaunch == kHeadsPerLaunch);

/// A tile of keys, the rows of its keys and of its values.
template <class Tile, class T>
struct SourceTile {
  Tile tile;
  HeadRows<const T> keys, values;
};

/// The keys of the call.
struct CallKeys {
  __device__ int64_t tokens(const AttentionShape& shape, int64_t) const { return shape.T; }

  template <int N, class I, class T>
  class Tiles : public KeyTiles<N, I> {
   public:
    __device__ Tiles(const CallKeys&, const HeadGroup&, const BlockOfHead& block, I begin, I end,
                     const HeadRows<const T>& keys, const HeadRows<const T>& values)
        : KeyTiles<N, I>(PatternOf<I>(block.pattern), begin, end), keys_(keys), values_(values) {}
    __device__ SourceTile<KeyTile<I>, T> with_rows(I n) const {
      const KeyTile<I> tile = (*this)[n];
      return {tile, {keys_[tile.first], keys_.step * tile.step}, {values_[tile.first], values_.step * tile.step}};
    }

   private:
    HeadRows<const T> keys_, values_;
  };
};

/// The keys of a cache (cache_slots.h) and, after them, those of the call: of each sequence the tokens from its length
/// on, counts of them.
struct CachedKeys {
  const void *keys, *values;  // (B, slots, d)
  const int64_t *lengths, *counts;
  int64_t slots_of_sequence, d;
  CachedHeads heads;  // of the launch's group

  __device__ int64_t tokens(const AttentionShape&, int64_t b) const { return counts[b]; }

  /// Dilated and initial keys are seen by every query, so that they count as one kind; of the ring, the n-th of the
  /// keys that are not dilated by those whose window begins at it or before.
  template <class I>
  struct Tile {
    bool in_cache, in_ring;
    I origin, number;  // number: among the keys that are not dilated, of the ring's first
    int count;
    KeyTile<I> own;

    __device__ typename KeyTile<I>::Range seen_by(I i) const {
      if (!in_cache) return own.seen_by(origin + i);
      if (!in_ring) return {0, count};
      const PatternOf<I>& p = own.pattern;
      const I position = origin + i, begin = larger(smaller(p.initial, position), position - p.window);
      return {static_cast<int>(larger(0, smaller(begin - p.dilated_below(begin) - number, count))), count};
    }
    __device__ bool leaves_out(int place) const { return !in_cache && own.leaves_out(place); }
    __device__ uint64_t left_out_positions() const { return in_cache ? 0 : own.left_out_positions(); }
    __device__ bool is_seen_whole_by(I i, int n) const {
      return in_cache ? !in_ring && count == n : own.is_seen_whole_by(origin + i, n);
    }
  };

  template <int N, class I, class T>
  class Tiles {
   public:
    __device__ Tiles(const CachedKeys& cache, const HeadGroup& group, const BlockOfHead& block, I begin, I end,
                     const HeadRows<const T>& keys, const HeadRows<const T>& values)
        : origin_(static_cast<I>(cache.lengths[block.b])),
          pattern_(block.pattern),
          own_(pattern_, origin_ + begin, origin_ + end, origin_),
          keys_(keys),
          values_(values) {
      const auto& head = cache.heads.heads[block.h - group.first];
      const CacheSlots slots = head.slots;
      const int64_t first = (block.b * cache.slots_of_sequence + head.before) * cache.d;
      cached_keys_ = {static_cast<const T*>(cache.keys) + first, cache.d};
      cached_values_ = {static_cast<const T*>(cache.values) + first, cache.d};
      const I in_ring = static_cast<I>(slots.ring(origin_)),
              to_end = static_cast<I>(slots.count() - slots.ring_begin(origin_));
      counts_[0] = static_cast<I>(slots.dilated(origin_));
      counts_[1] = static_cast<I>(slots.initial(origin_));
      counts_[2] = smaller(in_ring, to_end);
      counts_[3] = in_ring - counts_[2];
      slots_[0] = 0;
      slots_[1] = static_cast<I>(slots.first_initial());
      slots_[2] = static_cast<I>(slots.ring_begin(origin_));
      slots_[3] = static_cast<I>(slots.first_ring());
      number_ = static_cast<I>(slots.others_before(slots.window_begin(origin_)));
    }
    __device__ I count() const {
      I tiles = own_.count();
      for (const I keys : counts_) tiles += tiles_of(keys, N);
      return tiles;
    }
    __device__ Tile<I> operator[](I n) const { return with_rows(n).tile; }
    __device__ SourceTile<Tile<I>, T> with_rows(I n) const {
#pragma unroll
      for (int run = 0; run < 4; ++run) {
        const I tiles = tiles_of(counts_[run], N);
        if (n < tiles) {
          const I place = n * N, slot = slots_[run] + place;
          const int count = static_cast<int>(smaller(N, counts_[run] - place));
          const I number = number_ + place + (run == 3 ? counts_[2] : 0);
          return {{true, run >= 2, origin_, number, count, {KeyKind::dilated, 0, 1, 0, pattern_}},
                  {cached_keys_[slot], cached_keys_.step},
                  {cached_values_[slot], cached_values_.step}};
        }
        n -= tiles;
      }
      const KeyTile<I> tile = own_[n];
      const I first = tile.first - origin_;
      return {{false, false, origin_, 0, tile.count, tile},
              {keys_[first], keys_.step * tile.step},
              {values_[first], values_.step * tile.step}};
    }

   private:
    I origin_, number_;
    I counts_[4],
        slots_[4];  // the runs of slots: dilated, initial, the ring up to its end, the ring from its beginning
    PatternOf<I> pattern_;
    KeyTiles<N, I> own_;
    HeadRows<const T> keys_, values_, cached_keys_, cached_values_;
  };
};

/// On the host: calls f(group, keys) for every group of heads of dilated patterns.
template <class F>
void for_each_cached_group(const AttentionShape& shape, const CachedAttentionArgs& cache, F&& f) {
  for_each_cached_group(cache, HeadKinds::dilated, [&](const CachedHeads& heads) {
    HeadGroup group{heads.first, heads.count, {}};
    for (int h = 0; h < group.count; ++h) group.patterns[h] = within(shape.patterns[group.first + h], cache.capacity);
    f(group,
      CachedKeys{cache.keys, cache.values, cache.lengths, cache.counts, cache.slots_before[cache.H], shape.d, heads});
  });
}

}  // namespace ratel::cuda
