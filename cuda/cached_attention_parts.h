#pragma once

// What the kernels of cached_attention share: where the keys of some heads lie, and the angles of rope for positions
// that are known on the device alone.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "cuda/device.h"
#include "ops/cached_attention.h"
#include "ops/dilated_attention.h"

namespace ratel::cuda {

/// Heads of dilated patterns, one new token a sequence, the one at row t, after those before it.
void cached_decode(const CachedAttentionArgs& args, int64_t t, Stream stream);
/// All new tokens of the sequences, of every head.
void cached_prefill(const CachedAttentionArgs& args, Stream stream);

/// Heads of top-k blocks, which attend once the cache has taken all new tokens up: few of them one after the other, or
/// the summaries of those whose keys it has. `queries` are all heads' new ones, rotated and rounded, where
/// cached_blocks_in_tiles() says that they attend in tiles (block_tiles.h); without data the kernels rotate what they
/// need.
void cached_blocks_append(const CachedAttentionArgs& args, Stream stream);
void cached_blocks_summarise(const CachedAttentionArgs& args, Stream stream);
bool cached_blocks_in_tiles(const CachedAttentionArgs& args);
void cached_blocks_attend(const CachedAttentionArgs& args, const AttentionOperand& queries, Stream stream);

/// The slots of so many heads travel with a launch.
inline constexpr int kCachedHeadsPerLaunch = 32;

struct CachedHeads {
  int64_t first = 0;
  int count = 0;
  struct Head {
    CacheSlots slots{Pattern{}, 0};
    int64_t before = 0;  // slots of the heads before it
  } heads[kCachedHeadsPerLaunch];
};

/// On the host: heads [first, first + count).
inline CachedHeads cached_heads(const CachedAttentionArgs& args, int64_t first, int count) {
  CachedHeads group;
  group.first = first;
  group.count = count;
  for (int h = 0; h < count; ++h)
    group.heads[h] = {CacheSlots(args.patterns[first + h], args.capacity), args.slots_before[first + h]};
  return group;
}

enum class HeadKinds { all, dilated };

/// On the host: calls f(heads) for every group of neighbouring heads of these kinds.
template <class F>
void for_each_cached_group(const CachedAttentionArgs& args, HeadKinds kinds, F&& f) {
  const auto belongs = [&](int64_t h) { return kinds == HeadKinds::all || args.patterns[h].top_blocks == 0; };
  for (int64_t first = 0, end = 0; first < args.H; first = end) {
    end = first + 1;
    if (!belongs(first)) continue;
    while (end < args.H && end - first < kCachedHeadsPerLaunch && belongs(end)) ++end;
    f(cached_heads(args, first, static_cast<int>(end - first)));
  }
}

/// Half turns a token for the channel pairs c of a head, base^(-2c/d) / pi, as products of two powers that the host
/// computed: 384 bytes that travel with the launch, for up to 512 pairs.
class RopeFrequencies {
 public:
  RopeFrequencies(double base, int64_t d) {
    const auto power = [&](int64_t c) {
      return std::pow(base, -2.0 * static_cast<double>(c) / static_cast<double>(d));
    };
    for (int i = 0; i < kFine; ++i) fine_[i] = power(i) / std::numbers::pi;
    for (int i = 0; i < kCoarse; ++i) coarse_[i] = power(i * kFine);
  }
  /// Cosine and sine of pair c at a position, in f64 and rounded once.
  template <class A>
  __device__ Vec<A, 2> turn(int64_t position, int c) const {
    const double half_turns = static_cast<double>(position) * (coarse_[c / kFine] * fine_[c % kFine]);
    return {{static_cast<A>(cos_pi(half_turns)), static_cast<A>(sin_pi(half_turns))}};
  }

 private:
  static constexpr int kFine = 32, kCoarse = 16;
  double fine_[kFine], coarse_[kCoarse];
};

/// Elements of a token's projection.
inline int64_t projection_width(const CachedAttentionArgs& args) {
  return args.C * (args.recurrence == Recurrence::gated ? 5 : 4);
}

}  // namespace ratel::cuda
