#include "ops/copy.h"

#include "autograd/node.h"

namespace ratel {
namespace {

void copy_elements(const Tensor& into, const Tensor& from) {
  cpu::copy({into.layout(), from.layout(), into.dtype(), from.dtype(), into.storage()->data(), from.storage()->data()});
}

Tensor copied(const Tensor& x, DType dtype, const char* name) {
  Tensor out = empty(x.shape(), dtype, x.device());
  copy_elements(out, x);
  if (!is_float(dtype) || !is_float(x.dtype())) return out;
  return record(out, name, {x},
                [from = x.dtype()](const Tensor& grad, const Needs&) -> Grads { return {to(grad, from)}; });
}

}  // namespace

Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : copied(x, x.dtype(), "contiguous"); }

Tensor clone(const Tensor& x) { return copied(x, x.dtype(), "clone"); }

Tensor to(const Tensor& x, DType dtype) { return x.dtype() == dtype ? x : copied(x, dtype, "to"); }

void copy_into(const Tensor& into, const Tensor& from) {
  check(into.shape() == from.shape(), "copy_into: expected shape ", into.shape(), ", found ", from.shape());
  check(is_leaf(into), "copy_into: the tensor of shape ", into.shape(), " was made by an op and cannot be changed");
  copy_elements(into, from);
  into.storage()->bump_version();
}

}  // namespace ratel
