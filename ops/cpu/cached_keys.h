#pragma once

#include "ops/cached_attention.h"
#include "ops/cpu/attention_tile.h"

namespace ratel::cpu {

/// One head of one sequence in a cache: its rows by slot, and the state of its recurrence.
template <class T>
struct CachedHead {
  using A = accumulate_t<T>;
  Pattern pattern;
  CacheSlots slots;
  int64_t d, length, count;  // tokens in the cache, and new ones
  T *keys, *values;
  A *key_state, *value_state;  // null without recurrence

  /// head = b * H + h.
  CachedHead(const CachedAttentionArgs& args, int64_t head)
      : pattern(args.patterns[head % args.H]),
        slots(pattern, args.capacity),
        d(args.C / args.H),
        length(args.lengths[head / args.H]),
        count(args.counts[head / args.H]) {
    const int64_t b = head / args.H, h = head % args.H;
    const int64_t first = (b * args.slots_before[args.H] + args.slots_before[h]) * d;
    keys = static_cast<T*>(args.keys) + first;
    values = static_cast<T*>(args.values) + first;
    A* state = static_cast<A*>(args.state);
    key_state = state == nullptr ? nullptr : state + 2 * b * args.C + h * d;
    value_state = state == nullptr ? nullptr : key_state + args.C;
  }

  [[nodiscard]] int64_t end() const { return length + count; }

  /// The keys before position `length` that a tile of the new tokens reads at their positions: initial tokens, and the
  /// window of the first new token. Tokens between them have no row.
  [[nodiscard]] int64_t initial_rows() const { return slots.is_dilated(0) ? 0 : std::min(pattern.initial, length); }
  [[nodiscard]] int64_t window_begin() const { return slots.is_dilated(0) ? length : slots.window_begin(length); }
  [[nodiscard]] int64_t early_rows() const { return initial_rows() + length - window_begin(); }
  [[nodiscard]] int64_t row_of(int64_t j) const { return j < initial_rows() ? j : initial_rows() + j - window_begin(); }

  /// Rows of keys and values that a query at `length` sees, its own aside.
  [[nodiscard]] int64_t visible() const { return slots.visible(length); }

  /// Puts the key and value of new token j into its slot, if a query after end() may still see it.
  void keep(int64_t j, const A* key, const A* value) const {
    if (!slots.keeps(j)) return;
    if (!slots.is_dilated(j) && !slots.is_initial(j) && j < slots.window_begin(end())) return;
    store(key, keys + slots.slot(j) * d, d);
    store(value, values + slots.slot(j) * d, d);
  }
};

/// Keys and values that a tile of new tokens sees, where AttentionTile asks for them: dilated ones before the new
/// tokens lie side by side in the cache, and are converted where they are bf16, a run at a time; the rest lies by
/// position in (early_rows() + count, d) rows: initial tokens, the window, the new tokens.
template <class T>
class CachedRows {
  using A = accumulate_t<T>;

 public:
  CachedRows(const CachedHead<T>& cache, const A* keys, const A* values) : cache_(cache), keys_(keys), values_(values) {
    if constexpr (!kDirect) converted_ = Scratch<A>(2 * kKeyTile * cache.d);
  }
  [[nodiscard]] const A* own_key(int64_t i) const { return keys_ + cache_.row_of(i) * cache_.d; }
  [[nodiscard]] const A* own_value(int64_t i) const { return values_ + cache_.row_of(i) * cache_.d; }

  /// As for_each_key_run does, with runs of dilated keys cut where the new tokens begin.
  template <class F>
  void for_each_run(int64_t begin, int64_t end, F&& f) const {
    for_each_key_run(cache_.pattern, begin, end, [&](KeyRun run) {
      if (is_cached(run)) {
        const int64_t cached = std::min(run.count, (cache_.length - 1 - run.first) / run.step + 1);
        const int64_t left = run.count - cached;
        run.count = cached;
        f(run);
        if (left == 0) return;
        run.first += cached * run.step;
        run.count = left;
      }
      f(run);
    });
  }
  [[nodiscard]] Rows<const A> keys_of(const KeyRun& run) const { return rows_of(run, cache_.keys, keys_, 0); }
  [[nodiscard]] Rows<const A> values_of(const KeyRun& run) const { return rows_of(run, cache_.values, values_, 1); }

 private:
  static constexpr bool kDirect = std::is_same_v<T, A>;
  [[nodiscard]] bool is_cached(const KeyRun& run) const {
    return run.kind == KeyRun::Kind::dilated && run.first < cache_.length;
  }
  [[nodiscard]] Rows<const A> rows_of(const KeyRun& run, const T* slots, const A* by_position, int half) const {
    const int64_t d = cache_.d;
    if (!is_cached(run)) return {by_position + cache_.row_of(run.first) * d, run.step * d};
    const T* rows = slots + run.first / run.step * d;
    if constexpr (kDirect) {
      return {rows, d};
    } else {
      A* copy = converted_.get() + half * kKeyTile * d;
      load(rows, copy, run.count * d);
      return {copy, d};
    }
  }

  CachedHead<T> cache_;
  const A *keys_, *values_;
  Scratch<A> converted_;
};

}  // namespace ratel::cpu
