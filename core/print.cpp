#include <cstdio>

#include "core/tensor.h"

namespace ratel {
namespace {

constexpr int64_t kPrintedWhole = 12, kPrintedEnds = 5;  // elements of an axis

std::string text_of(double value, DType dtype) {
  char text[32];
  std::snprintf(text, sizeof text, is_float(dtype) ? "%.4g" : "%.0f", value);
  return text;
}

/// The elements of `axis` and the axes below it. `next` counts the elements before them in row-major order.
void print(std::ostream& out, const std::vector<double>& values, const Tensor& x, int axis, int64_t& next) {
  if (axis == x.rank()) {
    out << text_of(values[static_cast<size_t>(next++)], x.dtype());
    return;
  }
  int64_t below = 1;
  for (int inner = axis + 1; inner < x.rank(); ++inner) below *= x.dim(inner);
  const int64_t n = x.dim(axis);
  const bool rows = axis + 1 < x.rank();
  const std::string separator = rows ? ",\n" + std::string(static_cast<size_t>(axis) + 1, ' ') : ", ";
  out << '[';
  for (int64_t i = 0; i < n; ++i) {
    if (n > kPrintedWhole && i == kPrintedEnds) {
      out << separator << "...";
      next += (n - 2 * kPrintedEnds) * below;
      i = n - kPrintedEnds;
    }
    if (i > 0) out << separator;
    print(out, values, x, axis + 1, next);
  }
  out << ']';
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Tensor& x) {
  if (!x.defined()) return out << "undefined";
  int64_t next = 0;
  print(out, to_vector<double>(x), x, 0, next);
  return out;
}

}  // namespace ratel
