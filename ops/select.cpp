#include "ops/select.h"

#include <cmath>
#include <limits>

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/create.h"
#include "ops/reduce.h"

namespace ratel {
namespace {

void run_compare(const CompareArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::compare(args, current_stream(device));
  cpu::compare(args);
}

void run_where(const WhereArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::where(args, current_stream(device));
  cpu::where(args);
}

Shape shape_of_pair(const char* name, const Tensor& a, const Tensor& b) {
  check(a.dtype() == b.dtype(), name, ": expected two tensors of one dtype, found ", a.dtype(), " and ", b.dtype());
  check(a.device() == b.device(), name, ": tensors on ", a.device(), " and ", b.device());
  return broadcast_shapes(a.shape(), b.shape(), name);
}

Tensor compare(CompareOp op, const char* name, const Tensor& a, const Tensor& b) {
  const OpScope scope(name);
  const Shape shape = shape_of_pair(name, a, b);
  Tensor out = empty(shape, DType::u8, a.device());
  run_compare({op, a.layout().broadcast_to(shape, name), b.layout().broadcast_to(shape, name), a.dtype(),
               a.storage()->data(), b.storage()->data(), static_cast<uint8_t*>(out.data())},
              a.device());
  return out;
}

/// A number as a tensor like x.
Tensor number_like(const char* name, const Tensor& x, double value) {
  const OpScope scope(name);
  const bool is_held = is_float(x.dtype()) || visit_integer(x.dtype(), name, [&]<class T>() {
                         using Range = std::numeric_limits<T>;
                         const double end = std::ldexp(1.0, Range::digits);  // one past the largest
                         return value >= (Range::is_signed ? -end : 0) && value < end && value == std::trunc(value);
                       });
  check(is_held, name, ": ", x.dtype(), " does not hold ", value);
  return full({}, value, x.dtype(), x.device());
}

}  // namespace

Tensor equal(const Tensor& a, const Tensor& b) { return compare(CompareOp::equal, "equal", a, b); }
Tensor less(const Tensor& a, const Tensor& b) { return compare(CompareOp::less, "less", a, b); }
Tensor less_equal(const Tensor& a, const Tensor& b) { return compare(CompareOp::less_equal, "less_equal", a, b); }

Tensor equal(const Tensor& x, double value) { return equal(x, number_like("equal", x, value)); }
Tensor less(const Tensor& x, double value) { return less(x, number_like("less", x, value)); }
Tensor less_equal(const Tensor& x, double value) { return less_equal(x, number_like("less_equal", x, value)); }

Tensor where(const Tensor& condition, const Tensor& a, double b) {
  return where(condition, a, number_like("where", a, b));
}
Tensor where(const Tensor& condition, double a, const Tensor& b) {
  return where(condition, number_like("where", b, a), b);
}

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  constexpr const char* kName = "where";
  const OpScope scope(kName);
  check(condition.dtype() == DType::u8, "where: expected a condition of u8, found ", condition.dtype());
  check(condition.device() == a.device(), "where: the condition is on ", condition.device(), ", a on ", a.device());
  const Shape shape = broadcast_shapes(condition.shape(), shape_of_pair(kName, a, b), kName);
  const auto in_shape = [&](const Tensor& x) { return x.layout().broadcast_to(shape, kName); };
  const Tensor out = empty(shape, a.dtype(), a.device());
  run_where(
      {in_shape(condition), in_shape(a), in_shape(b), a.dtype(),
       static_cast<const uint8_t*>(condition.storage()->data()), a.storage()->data(), b.storage()->data(), out.data()},
      a.device());
  return record(
      out, kName, {condition, a, b},
      [condition = Saved(condition), sa = a.shape(), sb = b.shape()](const Tensor& grad, const Needs& needs) -> Grads {
        const Tensor zero = zeros({}, grad.dtype(), grad.device());
        return {Tensor(), needs[1] ? sum_to(where(*condition, grad, zero), sa) : Tensor(),
                needs[2] ? sum_to(where(*condition, zero, grad), sb) : Tensor()};
      });
}

}  // namespace ratel
