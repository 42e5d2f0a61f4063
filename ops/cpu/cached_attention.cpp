// recurrent_attention over a cache on the CPU.
//
// One new token a sequence: a task is a head. One step of the recurrence, rope, and attention of one query over the
// visible rows of the cache, at most four runs of neighbours (cache_slots.h), 64 rows at a time, its own key first.
// Reads each visible row of the cache once: 2 (T/D + W + S) d elements a head, which bound it.
//
// More: first (a task: one head) the recurrence over the new tokens, whose turned keys and values join a copy of the
// cache's initial tokens and window in rows by position; then (a task: 64 queries of a head) attention by
// attention_tile.h, which reads the dilated keys where they lie in the cache; then the cache takes up the new tokens.
// bf16 rows of the cache are converted a run at a time. Scratch: (S + W + n) d a head.
//
// Heads of top-k blocks take the new tokens up first, and then attend over the cache alone (cached_blocks.h).

#include "ops/cached_attention.h"

#include <memory>
#include <vector>

#include "ops/cpu/cached_blocks.h"
#include "ops/cpu/cached_keys.h"
#include "ops/cpu/projection.h"
#include "ops/cpu/rope_table.h"
#include "ops/cpu/stretches.h"

namespace ratel::cpu {
namespace {

using Part = ProjectionPart;

/// The rope angles of all positions that this call can turn; null where there is no new token.
template <class A>
std::shared_ptr<const RopeTable<A>> rope_for(const CachedAttentionArgs& args) {
  int64_t begin = args.capacity, end = 0;
  for (int64_t b = 0; b < args.B; ++b) {
    if (args.counts[b] == 0) continue;
    begin = std::min(begin, args.lengths[b]);
    end = std::max(end, args.lengths[b] + args.counts[b]);
  }
  return begin < end ? rope_table<A>(begin, end - begin, args.C / args.H, args.rope_base) : nullptr;
}

/// out = a sigmoid(o) of new token t.
template <class T, class A>
void store_gated(const CachedAttentionArgs& args, const Projection<T>& p, int64_t head, int64_t t, A* a) {
  Array<A> row(a, p.d);
  row *= sigmoid(*p.load(head, Part::output_gate, t));
  store(a, static_cast<T*>(args.out) + p.out_offset(head, t), p.d);
}
template <class T>
void store_zeros(const CachedAttentionArgs& args, const Projection<T>& p, int64_t head, int64_t t) {
  std::fill_n(static_cast<T*>(args.out) + p.out_offset(head, t), p.d, T{});
}

/// The recurrence of one head over new tokens: begins from the cache's state and leaves the last one there. `buffer` is
/// kWidth d numbers of working memory.
template <class T>
class Scan {
  using A = accumulate_t<T>;

 public:
  static constexpr int64_t kWidth = 3;
  Scan(const Projection<T>& p, const CachedHead<T>& cache, A* buffer)
      : p_(p), cache_(cache), gate_(buffer), state_(buffer + p.d) {
    if (cache.key_state == nullptr) return;
    std::copy_n(cache.key_state, p.d, state_);
    std::copy_n(cache.value_state, p.d, state_ + p.d);
  }
  /// The turned key and the value of new token t, the tokens in their order.
  void step(const RopeTable<A>& rope, int64_t head, int64_t t, A* key, A* value) const {
    p_.step(head, t, gate_, state_, state_);
    rope.rotate(cache_.length + t, state_, key, 1);
    std::copy_n(state_ + p_.d, p_.d, value);
  }
  void finish() const {
    if (cache_.key_state == nullptr) return;
    std::copy_n(state_, p_.d, cache_.key_state);
    std::copy_n(state_ + p_.d, p_.d, cache_.value_state);
  }

 private:
  const Projection<T>& p_;
  const CachedHead<T>& cache_;
  A *gate_, *state_;
};

/// Attention of one query over rows of a cache by the online softmax, which begins with the query's own key. `buffer`
/// is kWidth d numbers of working memory.
template <class T>
class OneQuery {
  using A = accumulate_t<T>;
  using Vector = Eigen::Map<Eigen::Matrix<A, Eigen::Dynamic, 1>>;
  using Matrix = Eigen::Map<const Eigen::Matrix<A, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
  static constexpr int64_t kRows = 64;

 public:
  static constexpr int64_t kWidth = std::is_same_v<T, A> ? 0 : kRows;
  OneQuery(int64_t d, const A* q, const A* key, const A* value, A* out, A* buffer)
      : d_(d), scale_(1 / std::sqrt(static_cast<A>(d))), q_(q), out_(out), converted_(buffer) {
    largest_ = scale_ * ConstVector(q, d).dot(ConstVector(key, d));
    std::copy_n(value, d, out);
  }
  void add(const T* keys, const T* values, int64_t count) {
    for (int64_t row = 0; row < count; row += kRows)
      add_rows(keys + row * d_, values + row * d_, std::min(kRows, count - row));
  }
  void finish() { Vector(out_, d_) /= total_; }

 private:
  using ConstVector = Eigen::Map<const Eigen::Matrix<A, Eigen::Dynamic, 1>>;

  void add_rows(const T* keys, const T* values, int64_t n) {
    alignas(64) std::array<A, kRows> scores;
    Vector s(scores.data(), n), out(out_, d_);
    s.noalias() = scale_ * (matrix(keys, n) * ConstVector(q_, d_));
    const A next = std::max(largest_, s.maxCoeff()), correction = std::exp(largest_ - next);
    s = (s.array() - next).exp();
    largest_ = next;
    total_ = total_ * correction + s.sum();
    if (correction != 1) out *= correction;
    out.noalias() += matrix(values, n).transpose() * s;
  }
  [[nodiscard]] Matrix matrix(const T* rows, int64_t n) const {
    if constexpr (std::is_same_v<T, A>) {
      return {rows, n, d_};
    } else {
      load(rows, converted_, n * d_);
      return {converted_, n, d_};
    }
  }

  int64_t d_;
  A scale_, largest_, total_ = 1;
  const A* q_;
  A *out_, *converted_;
};

/// One token of a head whose count is 1.
template <class T, class A>
void decode_head(const CachedAttentionArgs& args, const Projection<T>& p, const RopeTable<A>& rope, int64_t head,
                 A* buffer) {
  const CachedHead<T> cache(args, head);
  const int64_t d = p.d, i = cache.length;
  A *q = buffer, *key = q + d, *value = key + d, *a = value + d, *rest = a + d;
  const Scan<T> scan(p, cache, rest);
  scan.step(rope, head, 0, key, value);
  scan.finish();
  rope.rotate(i, (*p.load(head, Part::query, 0)).data(), q, 1);
  OneQuery<T> query(d, q, key, value, a, rest);
  cache.slots.for_each_run(
      i, [&](int64_t slot, int64_t count) { query.add(cache.keys + slot * d, cache.values + slot * d, count); });
  query.finish();
  store_gated(args, p, head, 0, a);
  cache.keep(i, key, value);
}

/// The same of a head of top-k blocks.
template <class T, class A>
void decode_blocks(const CachedAttentionArgs& args, const Projection<T>& p, const RopeTable<A>& rope, int64_t head,
                   A* buffer) {
  const CachedHead<T> cache(args, head);
  const CachedBlocks<T> blocks(args, cache, head);
  const int64_t d = p.d, i = cache.length;
  A *q = buffer, *key = q + d, *value = key + d, *a = value + d, *rest = a + d;
  const Scan<T> scan(p, cache, rest);
  scan.step(rope, head, 0, key, value);
  scan.finish();
  blocks.append(i, key, value);
  rope.rotate(i, (*p.load(head, Part::query, 0)).data(), q, 1);
  blocks.attend({q, d}, i, 1, {a, d});
  store_gated(args, p, head, 0, a);
}

template <class T>
void decode(const CachedAttentionArgs& args) {
  using A = accumulate_t<T>;
  const Projection<T> p(args.projection, 1, args.C, args.H, args.recurrence);
  const int64_t heads = args.B * args.H;
  const auto rope = rope_for<A>(args);
  int64_t rows = 0;
  for (int64_t head = 0; head < heads; ++head) rows += CachedHead<T>(args, head).visible();
  parallel_for(heads, rows_per_piece((rows / heads + 8) * 2 * p.d), [&](int64_t first, int64_t last) {
    const Scratch<A> buffer((4 + std::max(Scan<T>::kWidth, OneQuery<T>::kWidth)) * p.d);
    for (int64_t head = first; head < last; ++head)
      if (args.counts[head / args.H] == 0)
        store_zeros(args, p, head, 0);
      else if (args.patterns[head % args.H].top_blocks > 0)
        decode_blocks(args, p, *rope, head, buffer.get());
      else
        decode_head(args, p, *rope, head, buffer.get());
  });
}

/// Keys and values by position of every head that has new tokens; where a head is of top-k blocks the cache holds all
/// of them in that order, and has taken the new ones up.
template <class T>
class ByPosition {
  using A = accumulate_t<T>;

 public:
  ByPosition(const CachedAttentionArgs& args, const Projection<T>& p, const RopeTable<A>& rope) : d_(p.d) {
    const int64_t heads = args.B * args.H;
    int64_t rows = 0;
    for (int64_t head = 0; head < heads; ++head) {
      const CachedHead<T> cache(args, head);
      begin_.push_back(rows);
      if (cache.count > 0 && cache.pattern.top_blocks == 0) rows += cache.early_rows() + cache.count;
    }
    keys_ = Scratch<A>(rows * d_);
    values_ = Scratch<A>(rows * d_);
    parallel_for(heads, 1, [&](int64_t first, int64_t last) {
      for (int64_t head = first; head < last; ++head) {
        const CachedHead<T> cache(args, head);
        if (cache.pattern.top_blocks > 0)
          append(args, cache, p, rope, head);
        else
          fill(cache, p, rope, head);
      }
    });
  }

  [[nodiscard]] CachedRows<T> of(const CachedHead<T>& cache, int64_t head) const {
    return {cache, keys(head), values(head)};
  }
  /// The cache takes up the new tokens of a head.
  void keep(const CachedHead<T>& cache, int64_t head) const {
    if (cache.pattern.top_blocks > 0) return;
    for (int64_t j = cache.length; j < cache.end(); ++j)
      cache.keep(j, keys(head) + cache.row_of(j) * d_, values(head) + cache.row_of(j) * d_);
  }

 private:
  [[nodiscard]] A* keys(int64_t head) const { return keys_.get() + begin_[static_cast<size_t>(head)] * d_; }
  [[nodiscard]] A* values(int64_t head) const { return values_.get() + begin_[static_cast<size_t>(head)] * d_; }

  void fill(const CachedHead<T>& cache, const Projection<T>& p, const RopeTable<A>& rope, int64_t head) const {
    if (cache.count == 0) return;
    const auto copy = [&](int64_t j) {
      const int64_t from = cache.slots.slot(j) * d_, into = cache.row_of(j) * d_;
      load(cache.keys + from, keys(head) + into, d_);
      load(cache.values + from, values(head) + into, d_);
    };
    for (int64_t j = 0; j < cache.initial_rows(); ++j) copy(j);
    for (int64_t j = cache.window_begin(); j < cache.length; ++j) copy(j);
    const Scratch<A> buffer(Scan<T>::kWidth * d_);
    const Scan<T> scan(p, cache, buffer.get());
    for (int64_t t = 0; t < cache.count; ++t) {
      const int64_t row = cache.row_of(cache.length + t);
      scan.step(rope, head, t, keys(head) + row * d_, values(head) + row * d_);
    }
    scan.finish();
  }

  void append(const CachedAttentionArgs& args, const CachedHead<T>& cache, const Projection<T>& p,
              const RopeTable<A>& rope, int64_t head) const {
    const CachedBlocks<T> blocks(args, cache, head);
    const Scratch<A> buffer((2 + Scan<T>::kWidth) * d_);
    A *key = buffer.get(), *value = key + d_;
    const Scan<T> scan(p, cache, value + d_);
    for (int64_t t = 0; t < cache.count; ++t) {
      scan.step(rope, head, t, key, value);
      blocks.append(cache.length + t, key, value);
    }
    scan.finish();
  }

  int64_t d_;
  std::vector<int64_t> begin_;  // rows before every head
  Scratch<A> keys_, values_;
};

template <class T>
void extend(const CachedAttentionArgs& args) {
  using A = accumulate_t<T>;
  const Projection<T> p(args.projection, args.n, args.C, args.H, args.recurrence);
  const int64_t d = p.d, heads = args.B * args.H;
  const auto rope = rope_for<A>(args);
  if (rope == nullptr) {
    std::fill_n(static_cast<T*>(args.out), args.B * args.n * args.C, T{});
    return;
  }
  const ByPosition<T> rows(args, p, *rope);
  Stretches(heads, args.n, kQueryTile).for_each([&](int64_t head, int64_t begin, int64_t end) {
    const CachedHead<T> cache(args, head);
    const int64_t n = std::max<int64_t>(0, std::min(end, cache.count) - begin);
    for (int64_t t = begin + n; t < end; ++t) store_zeros(args, p, head, t);
    if (n == 0) return;
    const Scratch<A> buffers(2 * n * d);
    A *q = buffers.get(), *a = q + n * d;
    for (int64_t r = 0; r < n; ++r)
      rope->rotate(cache.length + begin + r, (*p.load(head, Part::query, begin + r)).data(), q + r * d, 1);
    if (cache.pattern.top_blocks > 0) {
      CachedBlocks<T>(args, cache, head).attend({q, d}, cache.length + begin, n, {a, d});
    } else {
      AttentionTile<A> tile(d);
      tile.forward(rows.of(cache, head), {q, d}, cache.length + begin, n, {a, d}, nullptr);
    }
    for (int64_t r = 0; r < n; ++r) store_gated(args, p, head, begin + r, a + r * d);
  });
  parallel_for(heads, 1, [&](int64_t first, int64_t last) {
    for (int64_t head = first; head < last; ++head) rows.keep(CachedHead<T>(args, head), head);
  });
}

}  // namespace

void cached_attention(const CachedAttentionArgs& args) {
  visit_float(args.dtype, "cached_attention", [&]<class T>() { args.n == 1 ? decode<T>(args) : extend<T>(args); });
}

}  // namespace ratel::cpu
