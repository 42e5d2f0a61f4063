#include "ops/arithmetic.h"

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/copy.h"
#include "ops/reduce.h"
#include "ops/select.h"

namespace ratel {
namespace {

void run_binary(const BinaryArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::binary(args, current_stream(device));
  cpu::binary(args);
}

void run_with_number(const NumberArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::with_number(args, current_stream(device));
  cpu::with_number(args);
}

void run_add_into(const AddIntoArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::add_into(args, current_stream(device));
  cpu::add_into(args);
}

Tensor binary(BinaryOp op, const char* name, const Tensor& a, const Tensor& b) {
  check(is_float(a.dtype()) && a.dtype() == b.dtype(), name, ": expected two tensors of one float dtype, found ",
        a.dtype(), " and ", b.dtype());
  check(a.device() == b.device(), name, ": tensors on ", a.device(), " and ", b.device());
  const Shape shape = broadcast_shapes(a.shape(), b.shape(), name);
  Tensor out = empty(shape, a.dtype(), a.device());
  run_binary({op, a.layout().broadcast_to(shape, name), b.layout().broadcast_to(shape, name), a.dtype(),
              a.storage()->data(), b.storage()->data(), out.data()},
             a.device());
  return out;
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  const OpScope scope("add");
  return record(binary(BinaryOp::add, "add", a, b), "add", {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& grad, const Needs& needs) -> Grads {
                  return {needs[0] ? sum_to(grad, sa) : Tensor(), needs[1] ? sum_to(grad, sb) : Tensor()};
                });
}

Tensor sub(const Tensor& a, const Tensor& b) {
  const OpScope scope("sub");
  return record(binary(BinaryOp::sub, "sub", a, b), "sub", {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& grad, const Needs& needs) -> Grads {
                  return {needs[0] ? sum_to(grad, sa) : Tensor(), needs[1] ? -sum_to(grad, sb) : Tensor()};
                });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  const OpScope scope("mul");
  return record(binary(BinaryOp::mul, "mul", a, b), "mul", {a, b},
                [a = Saved(a), b = Saved(b)](const Tensor& grad, const Needs& needs) -> Grads {
                  return {needs[0] ? sum_to(grad * *b, a->shape()) : Tensor(),
                          needs[1] ? sum_to(grad * *a, b->shape()) : Tensor()};
                });
}

Tensor div(const Tensor& a, const Tensor& b) {
  const OpScope scope("div");
  // d(a/b) = da / b - (a / b) db / b
  return record(binary(BinaryOp::div, "div", a, b), "div", {a, b},
                [a = Saved(a), b = Saved(b)](const Tensor& grad, const Needs& needs) -> Grads {
                  const Tensor da = grad / *b;
                  return {needs[0] ? sum_to(da, a->shape()) : Tensor(),
                          needs[1] ? -sum_to(da * (*a / *b), b->shape()) : Tensor()};
                });
}

namespace {

/// The larger or the smaller of a and b.
Tensor extreme(BinaryOp op, const char* name, const Tensor& a, const Tensor& b) {
  const OpScope scope(name);
  return record(binary(op, name, a, b), name, {a, b},
                [op, a = Saved(a), b = Saved(b)](const Tensor& grad, const Needs& needs) -> Grads {
                  // As the kernels choose: what is no number is equal to nothing.
                  const Tensor is_better = op == BinaryOp::max ? less_equal(*b, *a) : less_equal(*a, *b);
                  const Tensor takes_a = where(equal(*a, *a), is_better, full({}, 1, DType::u8, grad.device()));
                  return {needs[0] ? sum_to(where(takes_a, grad, 0), a->shape()) : Tensor(),
                          needs[1] ? sum_to(where(takes_a, 0, grad), b->shape()) : Tensor()};
                });
}

}  // namespace

Tensor maximum(const Tensor& a, const Tensor& b) { return extreme(BinaryOp::max, "maximum", a, b); }
Tensor minimum(const Tensor& a, const Tensor& b) { return extreme(BinaryOp::min, "minimum", a, b); }

namespace {

Tensor with_number(NumberOp op, const char* name, const Tensor& x, double value) {
  const OpScope scope(name);
  check(is_float(x.dtype()), name, ": expected a float dtype, found ", x.dtype());
  const Tensor in = contiguous(detach(x));
  Tensor out = empty_like(in);
  run_with_number({op, in.numel(), in.dtype(), in.data(), out.data(), value}, in.device());
  return record(out, name, {x}, [op, value](const Tensor& grad, const Needs&) -> Grads {
    switch (op) {
      case NumberOp::mul: return {mul(grad, value)};
      case NumberOp::div: return {div(grad, value)};
      default: return {grad};
    }
  });
}

}  // namespace

Tensor add(const Tensor& x, double value) { return with_number(NumberOp::add, "add", x, value); }
Tensor mul(const Tensor& x, double value) { return with_number(NumberOp::mul, "mul", x, value); }
Tensor div(const Tensor& x, double value) { return with_number(NumberOp::div, "div", x, value); }

void add_into(const Tensor& into, const Tensor& x) {
  const OpScope scope("add_into");
  check(into.shape() == x.shape(), "add_into: expected shape ", into.shape(), ", found ", x.shape());
  check(is_leaf(into), "add_into: the target must be a leaf: an op made it");
  check(into.is_contiguous(), "add_into: the target must be contiguous");
  check(into.device() == x.device(), "add_into: tensors on ", into.device(), " and ", x.device());
  // What starts elsewhere in the target's own storage is read as it was before.
  const bool shifted = x.storage() == into.storage() && x.layout().offset != into.layout().offset;
  const Tensor from = shifted ? clone(detach(x)) : contiguous(detach(x));
  run_add_into({into.numel(), into.dtype(), from.dtype(), into.data(), from.data()}, into.device());
  into.storage()->bump_version();
}

}  // namespace ratel
