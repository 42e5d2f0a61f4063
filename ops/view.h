#pragma once

#include "core/tensor.h"

namespace ratel {

/// Views: the same storage under another layout. Any dtype and layout. Gradient: x. Each throws Error for axes, ranges
/// or shapes that do not exist.

/// The same elements in row-major order as `shape`; one size may be -1 and follows from the others. A view where
/// strides allow it, a copy otherwise.
Tensor reshape(const Tensor& x, std::initializer_list<int64_t> shape);
Tensor reshape(const Tensor& x, const Shape& shape);
/// x with two axes exchanged.
Tensor transpose(const Tensor& x, int a, int b);
/// Elements begin, begin + step, ... before `end` of one axis, by default to its end. Negative ones count from the
/// end of the axis. Throws Error for a range that does not fit.
Tensor slice(const Tensor& x, int axis, int64_t begin, int64_t end = kToEnd, int64_t step = 1);
/// Equal parts of one axis. Throws Error where `parts` does not divide it.
std::vector<Tensor> split(const Tensor& x, int axis, int64_t parts);
/// x stretched to `shape` by the broadcasting rule (axes aligned at the end, size 1 stretches).
Tensor broadcast_to(const Tensor& x, const Shape& shape);

}  // namespace ratel
