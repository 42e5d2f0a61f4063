#pragma once

#include <bit>

#include "ops/cpu/attention_tile.h"
#include "ops/cpu/block_selection.h"

namespace ratel::cpu {

/// One head's keys and values by token, of T, and the summaries of its complete blocks.
template <class T>
struct BlockHead {
  Rows<const T> k, v;
  Rows<const accumulate_t<T>> summaries;
  int64_t d;
  Pattern pattern;
};

/// Attention of a tile of queries over the blocks that they score highest. One object a task: it owns the scratch.
///
/// Scores of all earlier blocks by one gemm; each query then marks the blocks it sees, a bit a query. The marked blocks
/// are walked from the first, neighbours with the same queries as one run of keys: the queries are gathered, S = Q K^T
/// by gemm, the online softmax is updated, O = O corr + P V by gemm. Keys of bf16 are converted a run at a time, so
/// that a cache is read as it is stored. Cost: 2 d flops a query and block, 4 d a visible pair. Bound by gemm.
template <class T>
class BlockTile {
  using A = accumulate_t<T>;

 public:
  /// For at most `rows` queries at a time, of heads with at most `blocks` blocks.
  BlockTile(int64_t d, int64_t rows, int64_t blocks)
      : d_(d),
        blocks_(blocks),
        choice_(blocks),
        wanted_(blocks),
        queries_(rows * 2 * d),
        block_scores_(rows * blocks),
        scores_(rows * kKeyTile),
        products_(rows * d) {
    if constexpr (!kDirect) keys_ = Scratch<A>(kKeyTile * d), values_ = Scratch<A>(kKeyTile * d);
  }

  /// Queries [begin, begin + n), n <= rows; q[0] is query `begin`. Writes out (n, d).
  void forward(const BlockHead<T>& head, Rows<const A> q, int64_t begin, int64_t n, Rows<A> out) {
    const int64_t D = head.pattern.dilation, last = (begin + n - 1) / D;
    choose(head, q, begin, n);
    for (int64_t r = 0; r < n; ++r) {
      largest_[index(r)] = -std::numeric_limits<A>::infinity();
      total_[index(r)] = 0;
      std::fill_n(out[r], d_, A{0});
    }
    for (int64_t block = 0, end = 0; block <= last; block = end) {
      for (end = block + 1; end <= last && wanted_[end] == wanted_[block];) ++end;
      if (wanted_[block] == 0) continue;
      gather(wanted_[block], q);
      const int64_t key_end = std::min(end * D, begin + n);
      for (int64_t key = block * D; key < key_end; key += kKeyTile)
        attend(head, key, std::min(kKeyTile, key_end - key), begin, out);
    }
    for (int64_t r = 0; r < n; ++r) Array<A>(out[r], d_) /= total_[index(r)];
  }

 private:
  static constexpr bool kDirect = std::is_same_v<T, A>;
  static_assert(kQueryTile <= 64, "a bit a query");
  static size_t index(int64_t r) { return static_cast<size_t>(r); }

  /// Marks in wanted_[block] the queries that see a block.
  void choose(const BlockHead<T>& head, Rows<const A> q, int64_t begin, int64_t n) {
    const BlockScore score = head.pattern.score;
    const int64_t D = head.pattern.dilation, top_blocks = head.pattern.top_blocks;
    const int64_t last = (begin + n - 1) / D, width = summary_width(score, d_);
    if (!BlockChoice<A>::sees_all(last, top_blocks)) {
      for (int64_t r = 0; r < n; ++r) scoring_row(score, q[r], d_, queries_.get() + r * width);
      gemm<A>(Transpose::no, Transpose::yes, n, last - 1, width, 1, queries_.get(), width, head.summaries[1],
              head.summaries.step, 0, block_scores_.get() + 1, blocks_);
    }
    std::fill_n(wanted_.get(), last + 1, uint64_t{0});
    for (int64_t r = 0; r < n; ++r) {
      const int64_t own = (begin + r) / D;
      const auto mark = [&](int64_t block) { wanted_[block] |= uint64_t{1} << r; };
      mark(own);
      choice_.for_each(block_scores_.get() + r * blocks_, own, top_blocks, mark);
    }
  }

  /// The queries of a run, one after the other.
  void gather(uint64_t rows, Rows<const A> q) {
    count_ = 0;
    for (; rows != 0; rows &= rows - 1) {
      const int64_t r = std::countr_zero(rows);
      std::copy_n(q[r], d_, queries_.get() + count_ * d_);
      rows_[index(count_++)] = r;
    }
  }

  /// Rows of `count` keys or values from token `first` on, in the type they are computed in.
  [[nodiscard]] Rows<const A> read(const Rows<const T>& from, int64_t first, int64_t count,
                                   const Scratch<A>& converted) const {
    if constexpr (kDirect) {
      return {from[first], from.step};
    } else {
      for (int64_t j = 0; j < count; ++j) load(from[first + j], converted.get() + j * d_, d_);
      return {converted.get(), d_};
    }
  }

  /// Adds `count` keys from token `first` on to the softmax of the gathered queries; each sees those up to itself.
  void attend(const BlockHead<T>& head, int64_t first, int64_t count, int64_t begin, Rows<A> out) {
    const Rows<const A> k = read(head.k, first, count, keys_), v = read(head.v, first, count, values_);
    gemm<A>(Transpose::no, Transpose::yes, count_, count, d_, 1 / std::sqrt(static_cast<A>(d_)), queries_.get(), d_,
            k.data, k.step, 0, scores_.get(), count);
    std::array<A, kQueryTile> correction;
    for (int64_t n = 0; n < count_; ++n) {
      const int64_t r = rows_[index(n)], seen = std::clamp<int64_t>(begin + r + 1 - first, 0, count);
      A* const scores = scores_.get() + n * count;
      std::fill(scores + seen, scores + count, A{0});
      correction[index(n)] = 1;
      if (seen == 0) continue;
      Array<A> p(scores, seen);
      A& m = largest_[index(r)];
      const A next = std::max(m, p.maxCoeff());
      correction[index(n)] = std::exp(m - next);
      m = next;
      p = (p - next).exp();
      total_[index(r)] = total_[index(r)] * correction[index(n)] + p.sum();
    }
    gemm<A>(Transpose::no, Transpose::no, count_, d_, count, 1, scores_.get(), count, v.data, v.step, 0,
            products_.get(), d_);
    for (int64_t n = 0; n < count_; ++n) {
      Array<A> row(out[rows_[index(n)]], d_);
      row = row * correction[index(n)] + Array<A>(products_.get() + n * d_, d_);
    }
  }

  int64_t d_, blocks_, count_ = 0;
  BlockChoice<A> choice_;
  Scratch<uint64_t> wanted_;
  Scratch<A> queries_, block_scores_, scores_, products_, keys_, values_;
  std::array<A, kQueryTile> largest_, total_;
  std::array<int64_t, kQueryTile> rows_;
};

}  // namespace ratel::cpu
