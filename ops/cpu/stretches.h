#pragma once

#include <utility>
#include <vector>

#include "ops/cpu/attention_tile.h"

namespace ratel::cpu {

/// The queries of every head cut into stretches, each a task. The cut depends on the shapes alone.
class Stretches {
 public:
  Stretches(int64_t heads, int64_t T, int64_t length) : heads_(heads), T_(T), length_(length) {}

  /// Few stretches, since each has key and value gradients of its own: one a head where there are heads enough to fill
  /// a machine, and never less than 512 queries.
  static Stretches for_backward(int64_t heads, int64_t T) {
    constexpr int64_t kTasks = 8, kShortest = 8 * kQueryTile;
    const int64_t wanted = (kTasks + heads - 1) / std::max<int64_t>(1, heads);
    const int64_t length = std::max(kShortest, (T + wanted - 1) / wanted);
    return {heads, T, (length + kQueryTile - 1) / kQueryTile * kQueryTile};
  }

  [[nodiscard]] int64_t heads() const { return heads_; }
  [[nodiscard]] int64_t T() const { return T_; }
  [[nodiscard]] int64_t length() const { return length_; }
  [[nodiscard]] int64_t per_head() const { return (T_ + length_ - 1) / length_; }

  /// Calls f(head, begin, end) for every stretch, several at once; long ones (the last of a head) first.
  template <class F>
  void for_each(F&& f) const {
    const int64_t count = per_head();
    parallel_for(heads_ * count, 1, [&](int64_t first, int64_t last) {
      for (int64_t task = first; task < last; ++task) {
        const int64_t stretch = count - 1 - task / heads_;
        f(task % heads_, stretch * length_, std::min(T_, (stretch + 1) * length_));
      }
    });
  }

 private:
  int64_t heads_, T_, length_;
};

/// Key and value gradients, (T, d) each, of every stretch: a stretch ending at token t has no more than t rows.
template <class A>
class KeyGradients {
 public:
  KeyGradients(const Stretches& stretches, int64_t d) : stretches_(stretches), d_(d) {
    const int64_t count = stretches.per_head();
    for (int64_t s = 0; s < count; ++s)
      rows_before_.push_back(s == 0 ? 0 : rows_before_.back() + 2 * std::min(stretches.T(), s * stretches.length()));
    rows_ = rows_before_.back() + 2 * stretches.T();
    data_ = Scratch<A>(stretches.heads() * rows_ * d);
  }

  /// Zeroed gradients of the stretch of a head that begins at token `begin`.
  std::pair<Rows<A>, Rows<A>> of(int64_t head, int64_t begin) {
    const auto [k, v, rows] = place(head, begin / stretches_.length());
    std::fill_n(k, 2 * rows * d_, A{0});
    return {{k, d_}, {v, d_}};
  }

  /// The sums over all stretches of a head, in order, in the place of the last one.
  std::pair<Rows<A>, Rows<A>> total(int64_t head) {
    const int64_t count = stretches_.per_head();
    const auto [k, v, rows] = place(head, count - 1);
    for (int64_t s = 0; s + 1 < count; ++s) {
      const auto [k_part, v_part, part_rows] = place(head, s);
      Array<A>(k, part_rows * d_) += Array<A>(k_part, part_rows * d_);
      Array<A>(v, part_rows * d_) += Array<A>(v_part, part_rows * d_);
    }
    return {{k, d_}, {v, d_}};
  }

 private:
  struct Place {
    A *k, *v;
    int64_t rows;
  };
  [[nodiscard]] Place place(int64_t head, int64_t stretch) const {
    const int64_t rows = std::min(stretches_.T(), (stretch + 1) * stretches_.length());
    A* k = data_.get() + (head * rows_ + rows_before_[static_cast<size_t>(stretch)]) * d_;
    return {k, k + rows * d_, rows};
  }

  Stretches stretches_;
  int64_t d_, rows_ = 0;
  std::vector<int64_t> rows_before_;
  Scratch<A> data_;
};

}  // namespace ratel::cpu
