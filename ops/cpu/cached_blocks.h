#pragma once

#include "ops/cpu/block_tile.h"
#include "ops/cpu/cached_keys.h"

namespace ratel::cpu {

/// A head of top-k blocks in a cache: token j has slot j, and the blocks' summaries grow with them. What a query sees
/// depends on the rounded keys in the cache alone, not on the pieces that they came in.
template <class T>
class CachedBlocks {
  using A = accumulate_t<T>;
  static constexpr bool kDirect = std::is_same_v<T, A>;

 public:
  /// head = b * H + h.
  CachedBlocks(const CachedAttentionArgs& args, const CachedHead<T>& cache, int64_t head)
      : cache_(cache), pattern_(cache.pattern), d_(cache.d) {
    pattern_.dilation = std::min(pattern_.dilation, args.capacity);
    if (pattern_.score != BlockScore::last) {
      const int64_t b = head / args.H, h = head % args.H;
      summaries_ =
          static_cast<A*>(args.summaries) + (b * args.summaries_before[args.H] + args.summaries_before[h]) * d_;
    }
    if constexpr (!kDirect) rounded_ = Scratch<A>(d_);
  }

  /// The cache takes up token j, the tokens in their order.
  void append(int64_t j, const A* key, const A* value) const {
    cache_.keep(j, key, value);
    if (pattern_.score == BlockScore::last) return;
    const int64_t D = pattern_.dilation;
    if constexpr (!kDirect) load(cache_.keys + j * d_, rounded_.get(), d_);
    add_to_summary(pattern_.score, kDirect ? key : rounded_.get(), d_, j % D,
                   summaries_ + j / D * summary_width(pattern_.score, d_));
  }

  /// Queries at positions [begin, begin + n), n <= kQueryTile, of which the cache holds the last. Writes out (n, d).
  void attend(Rows<const A> q, int64_t begin, int64_t n, Rows<A> out) const {
    const int64_t blocks = (begin + n - 1) / pattern_.dilation + 1;
    const Scratch<A> last = kDirect || pattern_.score != BlockScore::last ? Scratch<A>() : last_keys(blocks - 1);
    BlockTile<T> tile(d_, n, blocks);
    tile.forward({{cache_.keys, d_}, {cache_.values, d_}, summaries(last.get()), d_, pattern_}, q, begin, n, out);
  }

 private:
  /// The last key of each of the first blocks, converted.
  [[nodiscard]] Scratch<A> last_keys(int64_t blocks) const {
    Scratch<A> rows(blocks * d_);
    for (int64_t block = 0; block < blocks; ++block)
      load(cache_.keys + ((block + 1) * pattern_.dilation - 1) * d_, rows.get() + block * d_, d_);
    return rows;
  }
  [[nodiscard]] Rows<const A> summaries(const A* last) const {
    if (pattern_.score != BlockScore::last) return {summaries_, summary_width(pattern_.score, d_)};
    if constexpr (kDirect)
      return {cache_.keys + (pattern_.dilation - 1) * d_, pattern_.dilation * d_};
    else
      return {last, d_};
  }

  const CachedHead<T>& cache_;
  Pattern pattern_;
  int64_t d_;
  A* summaries_ = nullptr;
  Scratch<A> rounded_;
};

}  // namespace ratel::cpu
