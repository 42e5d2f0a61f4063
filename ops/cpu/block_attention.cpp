// Attention over top-k blocks on the CPU. The summaries of all complete blocks come first; then every tile of 64
// queries is a task (block_tile.h), as it is where a head's pattern is dilated (attention_tile.h). Tasks share nothing
// they write, so that the number of threads changes no bit. bf16 keys and values are converted once, queries a tile at
// a time. Memory: 64 T / D scores of blocks a task, T / D rows of summaries a head (two for minmax; of the last token
// they are the keys themselves), and bf16 keys and values in f32.

#include "ops/block_attention.h"

#include "ops/cpu/attention_operand.h"
#include "ops/cpu/block_tile.h"
#include "ops/cpu/stretches.h"

namespace ratel::cpu {
namespace {

/// The summaries of every head's complete blocks.
template <class A>
class Summaries {
 public:
  template <class Keys>
  Summaries(const BlockAttentionArgs& args, const Keys& keys) : d_(args.d) {
    int64_t elements = 0;
    for (int64_t head = 0; head < args.B * args.H; ++head) {
      begins_.push_back(elements);
      elements += size(args.patterns[head % args.H], args.T);
    }
    data_ = Scratch<A>(elements);
    for (int64_t head = 0; head < args.B * args.H; ++head) {
      const Pattern& pattern = args.patterns[head % args.H];
      if (size(pattern, args.T) == 0) continue;
      const Rows<const A> k = keys.rows(head);
      const int64_t D = pattern.dilation, width = summary_width(pattern.score, d_);
      A* const rows = data_.get() + begins_[static_cast<size_t>(head)];
      parallel_for(args.T / D, rows_per_piece(D * d_), [&](int64_t block, int64_t end) {
        for (; block < end; ++block)
          for (int64_t place = 0; place < D; ++place)
            add_to_summary(pattern.score, k[block * D + place], d_, place, rows + block * width);
      });
    }
  }

  [[nodiscard]] Rows<const A> of(int64_t head, const Pattern& pattern, Rows<const A> k) const {
    if (pattern.score == BlockScore::last) return {k[pattern.dilation - 1], k.step * pattern.dilation};
    return {data_.get() + begins_[static_cast<size_t>(head)], summary_width(pattern.score, d_)};
  }

 private:
  [[nodiscard]] int64_t size(const Pattern& pattern, int64_t T) const {
    const bool kept = pattern.top_blocks > 0 && pattern.score != BlockScore::last;
    return kept ? T / pattern.dilation * summary_width(pattern.score, d_) : 0;
  }

  int64_t d_;
  std::vector<int64_t> begins_;
  Scratch<A> data_;
};

template <class T>
void forward(const BlockAttentionArgs& args) {
  using A = accumulate_t<T>;
  const int64_t N = args.T, d = args.d, heads = args.B * args.H;
  const Operand<T> k(args.k, args.H, 0, heads, 0, N, d), v(args.v, args.H, 0, heads, 0, N, d);
  const Summaries<A> summaries(args, k);
  const Stretches tiles(heads, N, kQueryTile);
  tiles.for_each([&](int64_t head, int64_t begin, int64_t end) {
    const Operand<T> q(args.q, args.H, head, head + 1, begin, end, d);
    const Pattern& pattern = args.patterns[head % args.H];
    const Rows<const A> keys = k.rows(head), values = v.rows(head), queries = q.rows(head, begin);
    const Scratch<A> out(kQueryTile * d);
    if (pattern.top_blocks > 0) {
      BlockTile<A> tile(d, end - begin, (end - 1) / pattern.dilation + 1);
      tile.forward({keys, values, summaries.of(head, pattern, keys), d, pattern}, queries, begin, end - begin,
                   {out.get(), d});
    } else {
      std::array<A, kQueryTile> lse;
      AttentionTile<A> tile(d);
      tile.forward(Head<A>{keys, values, d, pattern}, queries, begin, end - begin, {out.get(), d}, lse.data());
    }
    store(out.get(), static_cast<T*>(args.out) + (head * N + begin) * d, (end - begin) * d);
  });
}

}  // namespace

void block_attention(const BlockAttentionArgs& args) {
  visit_float(args.dtype, "block_attention", [&]<class T>() { forward<T>(args); });
}

}  // namespace ratel::cpu
