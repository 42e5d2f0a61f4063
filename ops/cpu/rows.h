#pragma once

#include "core/layout.h"

namespace ratel::cpu {

/// A tensor of any layout as rows of its last axis: row r starts at position(r), and its elements are step() apart.
class RowWalk {
 public:
  explicit RowWalk(const Layout& layout) : layout_(layout) {}
  [[nodiscard]] int64_t width() const { return layout_.shape.rank() == 0 ? 1 : layout_.shape[-1]; }
  [[nodiscard]] int64_t step() const { return layout_.shape.rank() == 0 ? 1 : layout_.stride(-1); }
  [[nodiscard]] int64_t position(int64_t row) const {
    int64_t position = layout_.offset;
    for (int axis = layout_.shape.rank() - 2; axis >= 0; --axis) {
      position += row % layout_.shape[axis] * layout_.stride(axis);
      row /= layout_.shape[axis];
    }
    return position;
  }

 private:
  Layout layout_;
};

}  // namespace ratel::cpu
