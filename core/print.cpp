#include <cstdio>

#include "core/tensor.h"

namespace ratel {
namespace {

constexpr int64_t kPrintedWhole = 12, kPrintedEnds = 5;  // elements of an axis

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}
std::string text_of(int64_t value) { return std::to_string(value); }

/// The elements of `axis` and the axes below it. `next` counts the elements before them in row-major order.
template <class T>
void print(std::ostream& out, const std::vector<T>& values, const Shape& shape, int axis, int64_t& next) {
  if (axis == shape.rank()) {
    out << text_of(values[static_cast<size_t>(next++)]);
    return;
  }
  int64_t below = 1;
  for (int inner = axis + 1; inner < shape.rank(); ++inner) below *= shape[inner];
  const int64_t n = shape[axis];
  const bool rows = axis + 1 < shape.rank();
  const std::string separator = rows ? ",\n" + std::string(static_cast<size_t>(axis) + 1, ' ') : ", ";
  out << '[';
  for (int64_t i = 0; i < n; ++i) {
    if (n > kPrintedWhole && i == kPrintedEnds) {
      out << separator << "...";
      next += (n - 2 * kPrintedEnds) * below;
      i = n - kPrintedEnds;
    }
    if (i > 0) out << separator;
    print(out, values, shape, axis + 1, next);
  }
  out << ']';
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& x) {
  if (!x.defined()) return out << "undefined";
  int64_t next = 0;
  if (is_float(x.dtype()))
    print(out, to_vector<double>(x), x.shape(), 0, next);
  else
    print(out, to_vector<int64_t>(x), x.shape(), 0, next);
  return out;
}

}  // namespace ratel
