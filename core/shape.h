#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>

#include "core/error.h"

namespace ratel {

inline constexpr int kMaxRank = 8;

/// Sizes of a tensor's axes: a fixed array and a rank, so that it lives on no heap and copies to a device.
class Shape {
 public:
  constexpr Shape() = default;
  /// Throws Error for a negative size or more than kMaxRank axes.
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);

  [[nodiscard]] constexpr int rank() const { return rank_; }
  /// Size of an axis; negative axes count from the end. Throws Error where there is no such axis.
  int64_t operator[](int axis) const { return dims_[static_cast<size_t>(normalize_axis(axis))]; }
  void set(int axis, int64_t size) { dims_[static_cast<size_t>(normalize_axis(axis))] = size; }
  /// Product of all sizes, 1 for rank 0. Throws Error on overflow of int64.
  [[nodiscard]] int64_t numel() const;
  /// The axis counted from the front. Throws Error, naming the op at work, where there is no such axis.
  [[nodiscard]] int normalize_axis(int axis) const {
    const int positive = axis < 0 ? axis + rank_ : axis;
    if (positive < 0 || positive >= rank_) [[unlikely]]
      fail_no_axis(axis);
    return positive;
  }
  [[nodiscard]] std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  [[nodiscard]] const int64_t* begin() const { return dims_.data(); }
  [[nodiscard]] const int64_t* end() const { return dims_.data() + rank_; }
  void push_back(int64_t size);
  friend bool operator==(const Shape& a, const Shape& b) { return a.rank_ == b.rank_ && a.dims_ == b.dims_; }

 private:
  [[noreturn]] void fail_no_axis(int axis) const;

  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

/// "(2, 3, 4)".
std::ostream& operator<<(std::ostream& out, const Shape& shape);

/// The shape two operands broadcast to: axes are aligned at the end, and a size of 1 stretches.
/// Throws Error naming `op` and both shapes where they do not.
Shape broadcast_shapes(const Shape& a, const Shape& b, std::string_view op);

}  // namespace ratel
