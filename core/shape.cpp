#include "core/shape.h"

#include <algorithm>

#include "core/op_scope.h"

namespace ratel {

Shape::Shape(std::span<const int64_t> dims) {
  check(dims.size() <= kMaxRank, "a tensor has at most ", kMaxRank, " axes, found ", dims.size());
  for (int64_t size : dims) push_back(size);
}

void Shape::push_back(int64_t size) {
  check(rank_ < kMaxRank, "a tensor has at most ", kMaxRank, " axes");
  check(size >= 0, "a tensor's axis cannot have the size ", size);
  dims_[static_cast<size_t>(rank_++)] = size;
}

int64_t Shape::numel() const {
  if (std::ranges::find(dims(), 0) != dims().end()) return 0;
  int64_t product = 1;
  for (int64_t size : dims())
    check(!__builtin_mul_overflow(product, size, &product), "a tensor of shape ", *this, " has too many elements");
  return product;
}

void Shape::fail_no_axis(int axis) const {
  fail(OpScope::current(), ": axis ", axis, " does not exist in shape ", *this);
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '(';
  for (int axis = 0; axis < shape.rank(); ++axis) out << (axis ? ", " : "") << shape[axis];
  return out << ')';
}

Shape broadcast_shapes(const Shape& a, const Shape& b, std::string_view op) {
  const int rank = std::max(a.rank(), b.rank());
  Shape result;
  for (int axis = 0; axis < rank; ++axis) {
    const int in_a = axis - (rank - a.rank()), in_b = axis - (rank - b.rank());
    const int64_t size_a = in_a < 0 ? 1 : a[in_a], size_b = in_b < 0 ? 1 : b[in_b];
    check(size_a == size_b || size_a == 1 || size_b == 1, op, ": shapes ", a, " and ", b, " do not broadcast");
    result.push_back(size_a == 1 ? size_b : size_a);
  }
  return result;
}

}  // namespace ratel
