#include "ops/arithmetic.h"

#include "autograd/node.h"
#include "ops/copy.h"
#include "ops/reduce.h"

namespace ratel {
namespace {

Tensor binary(BinaryOp op, const char* name, const Tensor& a, const Tensor& b) {
  check(is_float(a.dtype()) && a.dtype() == b.dtype(), name, ": expected two tensors of one float dtype, found ",
        a.dtype(), " and ", b.dtype());
  check(a.device() == b.device(), name, ": tensors on ", a.device(), " and ", b.device());
  const Shape shape = broadcast_shapes(a.shape(), b.shape(), name);
  Tensor out = empty(shape, a.dtype(), a.device());
  cpu::binary({op, a.layout().broadcast_to(shape, name), b.layout().broadcast_to(shape, name), a.dtype(),
               a.storage()->data(), b.storage()->data(), out.data()});
  return out;
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  return record(binary(BinaryOp::add, "add", a, b), "add", {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& grad, const Needs& needs) -> Grads {
                  return {needs[0] ? sum_to(grad, sa) : Tensor(), needs[1] ? sum_to(grad, sb) : Tensor()};
                });
}

Tensor sub(const Tensor& a, const Tensor& b) {
  return record(binary(BinaryOp::sub, "sub", a, b), "sub", {a, b},
                [sa = a.shape(), sb = b.shape()](const Tensor& grad, const Needs& needs) -> Grads {
                  return {needs[0] ? sum_to(grad, sa) : Tensor(), needs[1] ? -sum_to(grad, sb) : Tensor()};
                });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  return record(binary(BinaryOp::mul, "mul", a, b), "mul", {a, b},
                [a = Saved(a), b = Saved(b)](const Tensor& grad, const Needs& needs) -> Grads {
                  return {needs[0] ? sum_to(grad * *b, a->shape()) : Tensor(),
                          needs[1] ? sum_to(grad * *a, b->shape()) : Tensor()};
                });
}

Tensor div(const Tensor& a, const Tensor& b) {
  // d(a/b) = da / b - (a / b) db / b
  return record(binary(BinaryOp::div, "div", a, b), "div", {a, b},
                [a = Saved(a), b = Saved(b)](const Tensor& grad, const Needs& needs) -> Grads {
                  const Tensor da = grad / *b;
                  return {needs[0] ? sum_to(da, a->shape()) : Tensor(),
                          needs[1] ? -sum_to(da * (*a / *b), b->shape()) : Tensor()};
                });
}

namespace {

Tensor affine(const char* name, const Tensor& x, double scale, double shift) {
  check(is_float(x.dtype()), name, ": expected a float dtype, found ", x.dtype());
  const Tensor in = contiguous(detach(x));
  Tensor out = empty_like(in);
  cpu::affine({in.numel(), in.dtype(), in.data(), out.data(), scale, shift});
  return record(out, name, {x}, [scale](const Tensor& grad, const Needs&) -> Grads { return {mul(grad, scale)}; });
}

}  // namespace

Tensor add(const Tensor& x, double value) { return affine("add", x, 1, value); }

Tensor mul(const Tensor& x, double value) { return affine("mul", x, value, 0); }

void add_into(const Tensor& into, const Tensor& x) {
  check(into.shape() == x.shape(), "add_into: expected shape ", into.shape(), ", found ", x.shape());
  check(into.is_contiguous() && is_leaf(into), "add_into: the target must be a contiguous leaf");
  const Tensor from = contiguous(detach(x));
  cpu::add_into({into.numel(), into.dtype(), from.dtype(), into.data(), from.data()});
  into.storage()->bump_version();
}

}  // namespace ratel
