#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/pattern.h"

namespace ratel {

/// Where one head's keys (and values) lie in its cache. Of `capacity` tokens a cache keeps those that a later query may
/// see, each in exactly one slot:
///   [ dilated keys, in order | initial tokens that are not dilated | ring of the window's keys that are neither ]
/// The ring holds the last window - floor(window / dilation) of its kind: so many at most are in any window. A pattern
/// of top-k blocks keeps every key, as a dense one does. count() = T/D + (S - S/D) + (W - W/D), rounded down, with S <=
/// T and W <= T - S: at most T/D + W + S.
class CacheSlots {
 public:
  constexpr CacheSlots(const Pattern& pattern, int64_t capacity)
      : dilation_(pattern.top_blocks > 0 ? 1 : pattern.dilation),
        initial_(std::min(pattern.initial, capacity)),
        window_(std::min(pattern.window, capacity - initial_)),
        dilated_slots_(dilated_before(capacity)),
        initial_slots_(others_before(initial_)),
        ring_slots_(others_before(window_)) {}

  /// Slots in all.
  [[nodiscard]] constexpr int64_t count() const { return dilated_slots_ + initial_slots_ + ring_slots_; }

  /// Of the tokens before i: how many are dilated keys, and how many are not.
  [[nodiscard]] constexpr int64_t dilated_before(int64_t i) const { return dilation_ < 1 ? 0 : i / dilation_; }
  [[nodiscard]] constexpr int64_t others_before(int64_t i) const { return i - dilated_before(i); }

  [[nodiscard]] constexpr bool is_dilated(int64_t j) const { return dilation_ >= 1 && (j + 1) % dilation_ == 0; }
  [[nodiscard]] constexpr bool is_initial(int64_t j) const { return j < initial_; }
  /// False where no later query sees key j: there is neither a window nor another reason to keep it.
  [[nodiscard]] constexpr bool keeps(int64_t j) const { return is_dilated(j) || is_initial(j) || ring_slots_ > 0; }
  /// The slot of key j, which keeps(). In the ring it is taken over by a later key in time.
  [[nodiscard]] constexpr int64_t slot(int64_t j) const {
    if (is_dilated(j)) return dilated_before(j);
    if (is_initial(j)) return dilated_slots_ + others_before(j);
    return dilated_slots_ + initial_slots_ + others_before(j) % ring_slots_;
  }

  /// What query i sees of the cache when it holds the keys before i, in at most four runs of slots: `dilated` slots
  /// from 0, `initial` ones from first_initial(), and `ring` ones that begin at ring_begin() and go on, at the ring's
  /// end, at first_ring().
  [[nodiscard]] constexpr int64_t dilated(int64_t i) const { return dilated_before(i); }
  [[nodiscard]] constexpr int64_t initial(int64_t i) const { return others_before(std::min(initial_, i)); }
  [[nodiscard]] constexpr int64_t ring(int64_t i) const {
    return ring_slots_ == 0 ? 0 : others_before(i) - others_before(window_begin(i));
  }
  [[nodiscard]] constexpr int64_t first_initial() const { return dilated_slots_; }
  [[nodiscard]] constexpr int64_t first_ring() const { return dilated_slots_ + initial_slots_; }
  [[nodiscard]] constexpr int64_t ring_begin(int64_t i) const {
    return first_ring() + (ring_slots_ == 0 ? 0 : others_before(window_begin(i)) % ring_slots_);
  }
  /// The four runs, empty ones too: f(its first slot, its slots).
  template <class F>
  constexpr void for_each_run(int64_t i, F&& f) const {
    const int64_t all = ring(i), to_end = std::min(all, count() - ring_begin(i));
    f(0, dilated(i));
    f(first_initial(), initial(i));
    f(ring_begin(i), to_end);
    f(first_ring(), all - to_end);
  }
  /// The same as one list: how many slots query i sees, and the n-th of them.
  [[nodiscard]] constexpr int64_t visible(int64_t i) const { return dilated(i) + initial(i) + ring(i); }
  [[nodiscard]] constexpr int64_t visible_slot(int64_t i, int64_t n) const {
    if (n < dilated(i)) return n;
    n -= dilated(i);
    if (n < initial(i)) return first_initial() + n;
    const int64_t slot = ring_begin(i) + n - initial(i);
    return slot < count() ? slot : slot - ring_slots_;
  }

  /// The first token that query i may see in the ring: its window without the initial tokens.
  [[nodiscard]] constexpr int64_t window_begin(int64_t i) const { return std::max(std::min(initial_, i), i - window_); }

 private:
  int64_t dilation_, initial_, window_, dilated_slots_, initial_slots_, ring_slots_;
};

/// Slots of one head's cache of `capacity` tokens.
constexpr int64_t cache_slots(const Pattern& pattern, int64_t capacity) {
  return CacheSlots(pattern, capacity).count();
}

}  // namespace ratel
