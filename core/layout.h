#pragma once

#include <limits>

#include "core/shape.h"

namespace ratel {

/// The end of an axis, as the end of a slice.
inline constexpr int64_t kToEnd = std::numeric_limits<int64_t>::max();

/// How a shape lies in a storage: element (i0, i1, ...) is at offset + i0*stride[0] + i1*stride[1] + ..., in elements.
struct Layout {
  Shape shape;
  std::array<int64_t, kMaxRank> strides{};
  int64_t offset = 0;

  /// Row-major, starting at 0.
  static Layout contiguous(const Shape& shape);
  [[nodiscard]] int64_t stride(int axis) const { return strides[static_cast<size_t>(shape.normalize_axis(axis))]; }
  /// True where elements in index order are neighbours (axes of size 1 do not matter; an empty tensor is contiguous).
  [[nodiscard]] bool is_contiguous() const;
  /// True where neighbours along the last axis lie side by side, whatever the strides of the others. Throws Error for
  /// rank 0, which has no axis.
  [[nodiscard]] bool has_contiguous_rows() const { return shape[-1] == 1 || stride(-1) == 1; }
  /// One past the largest element position, 0 where there are no elements.
  [[nodiscard]] int64_t extent() const;

  /// True where no two elements share a position.
  [[nodiscard]] bool is_injective() const;

  /// The views. Each throws Error for axes or ranges that do not exist.
  [[nodiscard]] Layout transposed(int a, int b) const;
  /// Negative ends of the range count from the axis's; kToEnd is that.
  [[nodiscard]] Layout sliced(int axis, int64_t begin, int64_t end = kToEnd, int64_t step = 1) const;
  [[nodiscard]] Layout broadcast_to(const Shape& target, std::string_view op) const;
  /// The same elements under another shape, or throws Error where no strides express that without a copy.
  [[nodiscard]] bool can_view_as(const Shape& target) const;
  [[nodiscard]] Layout viewed_as(const Shape& target) const;
};

/// Calls f(position) for every element in index order. Positions are in elements, the offset included.
template <class F>
void for_each_position(const Layout& layout, F&& f) {
  const int rank = layout.shape.rank();
  const int64_t count = layout.shape.numel();
  if (count == 0) return;
  if (rank == 0) return f(layout.offset);
  std::array<int64_t, kMaxRank> index{};
  const auto last = static_cast<size_t>(rank - 1);
  const int64_t inner = layout.shape[-1], inner_stride = layout.strides[last];
  int64_t base = layout.offset;
  for (int64_t done = 0; done < count; done += inner) {
    for (int64_t i = 0; i < inner; ++i) f(base + i * inner_stride);
    for (int axis = rank - 2; axis >= 0; --axis) {
      const auto a = static_cast<size_t>(axis);
      base += layout.strides[a];
      if (++index[a] < layout.shape[axis]) break;
      base -= layout.strides[a] * layout.shape[axis];
      index[a] = 0;
    }
  }
}

}  // namespace ratel
