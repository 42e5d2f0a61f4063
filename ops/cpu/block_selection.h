#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/cpu/blocks.h"
#include "ops/cpu/scratch.h"
#include "ops/pattern.h"

namespace ratel::cpu {

/// Top-k blocks: a block is known by its summary, one row, and a query by a row of the same width; the product of the
/// two is the block's score, so that a tile of queries scores all blocks by one gemm.
///   last    the key of the block's last token; the query
///   mean    the sum of the block's keys: complete blocks are of one size, so that sums order them as means do
///   minmax  [least | greatest] of its keys in every channel; [min(q, 0) | max(q, 0)] of the query, since
///           max(q_c min_c, q_c max_c) is q_c min_c where q_c < 0 and q_c max_c else
constexpr int64_t summary_width(BlockScore score, int64_t d) { return score == BlockScore::minmax ? 2 * d : d; }

/// Takes the key at `place` of its block, in [0, D), up into the summary, which place 0 begins; places come in order.
template <class A>
void add_to_summary(BlockScore score, const A* key, int64_t d, int64_t place, A* summary) {
  const ConstArray<A> x(key, d);
  Array<A> first(summary, d);
  if (place == 0 || score == BlockScore::last) {
    first = x;
    if (score == BlockScore::minmax) Array<A>(summary + d, d) = x;
  } else if (score == BlockScore::mean) {
    first += x;
  } else {
    Array<A> greatest(summary + d, d);
    first = first.min(x);
    greatest = greatest.max(x);
  }
}

/// The query's row, summary_width() numbers.
template <class A>
void scoring_row(BlockScore score, const A* query, int64_t d, A* row) {
  const ConstArray<A> q(query, d);
  Array<A> first(row, d);
  if (score == BlockScore::minmax) {
    first = q.min(A{0});
    Array<A>(row + d, d) = q.max(A{0});
  } else {
    first = q;
  }
}

/// Which blocks a query whose own is block `own` sees. One object a task: it owns the list.
template <class A>
class BlockChoice {
 public:
  explicit BlockChoice(int64_t blocks) : others_(std::max<int64_t>(1, blocks)) {}

  /// True where the query sees all blocks before its own: its scores are not asked for.
  static bool sees_all(int64_t own, int64_t top_blocks) { return own - 1 <= top_blocks - 2; }

  /// Calls f(block) for the blocks seen before its own, in no order: the first, and the top_blocks - 2 of blocks
  /// 1 ... own - 1 with the greatest scores[block]; of equal ones the earlier. NaN is the least of scores.
  template <class F>
  void for_each(const A* scores, int64_t own, int64_t top_blocks, F&& f) const {
    if (own > 0) f(int64_t{0});
    if (sees_all(own, top_blocks)) {
      for (int64_t block = 1; block < own; ++block) f(block);
      return;
    }
    int64_t* const first = others_.get();
    for (int64_t block = 1; block < own; ++block) first[block - 1] = block;
    std::nth_element(first, first + (top_blocks - 2), first + (own - 1), [&](int64_t a, int64_t b) {
      const A x = ordered(scores[a]), y = ordered(scores[b]);
      return x != y ? x > y : a < b;
    });
    for (int64_t n = 0; n < top_blocks - 2; ++n) f(first[n]);
  }

 private:
  static A ordered(A score) { return std::isnan(score) ? -std::numeric_limits<A>::infinity() : score; }
  Scratch<int64_t> others_;
};

}  // namespace ratel::cpu
