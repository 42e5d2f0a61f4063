#include "ops/view.h"

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"

namespace ratel {
namespace {

Shape complete(const Tensor& x, std::initializer_list<int64_t> dims) {
  const OpScope scope("reshape");
  int64_t known = 1;
  int missing = 0;
  for (const int64_t size : dims) size == -1 ? ++missing : known *= size;
  check(missing <= 1, "reshape: at most one size may be -1");
  check(missing == 0 || (known > 0 && x.numel() % known == 0), "reshape: shape ", x.shape(), " of ", x.numel(),
        " elements does not fit, the other sizes have a product of ", known);
  Shape shape;
  for (const int64_t size : dims) shape.push_back(size == -1 ? x.numel() / known : size);
  return shape;
}

}  // namespace

Tensor reshape(const Tensor& x, std::initializer_list<int64_t> shape) { return reshape(x, complete(x, shape)); }

Tensor reshape(const Tensor& x, const Shape& shape) {
  const OpScope scope("reshape");
  check(shape.numel() == x.numel(), "reshape: shape ", x.shape(), " has ", x.numel(), " elements, ", shape, " has ",
        shape.numel());
  if (!x.layout().can_view_as(shape)) return reshape(contiguous(x), shape);
  return record(view_of(x, x.layout().viewed_as(shape)), "reshape", {x},
                [from = x.shape()](const Tensor& grad, const Needs&) -> Grads { return {reshape(grad, from)}; });
}

Tensor transpose(const Tensor& x, int a, int b) {
  const OpScope scope("transpose");
  return record(view_of(x, x.layout().transposed(a, b)), "transpose", {x},
                [a, b](const Tensor& grad, const Needs&) -> Grads { return {transpose(grad, a, b)}; });
}

Tensor slice(const Tensor& x, int axis, int64_t begin, int64_t end, int64_t step) {
  const OpScope scope("slice");
  return record(view_of(x, x.layout().sliced(axis, begin, end, step)), "slice", {x},
                [shape = x.shape(), axis, begin, end, step](const Tensor& grad, const Needs& needs) -> Grads {
                  // Added to what is there, T slices of T tokens cost T, and not T^2 for T tensors that are all but
                  // zeros.
                  if (const Tensor sum = needs.sum_so_far(0); sum.defined()) {
                    const Tensor part = slice(sum, axis, begin, end, step);
                    copy_into(part, part + to(grad, sum.dtype()));
                    return {sum};
                  }
                  Tensor whole = zeros(shape, grad.dtype(), grad.device());
                  copy_into(slice(whole, axis, begin, end, step), grad);
                  return {whole};
                });
}

std::vector<Tensor> split(const Tensor& x, int axis, int64_t parts) {
  const OpScope scope("split");
  check(parts >= 1 && x.dim(axis) % parts == 0, "split: axis ", axis, " of shape ", x.shape(), " does not divide into ",
        parts, " parts");
  const int64_t size = x.dim(axis) / parts;
  std::vector<Tensor> result;
  for (int64_t part = 0; part < parts; ++part) result.push_back(slice(x, axis, part * size, (part + 1) * size));
  return result;
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  const OpScope scope("broadcast_to");
  return record(view_of(x, x.layout().broadcast_to(shape, "broadcast_to")), "broadcast_to", {x},
                [from = x.shape()](const Tensor& grad, const Needs&) -> Grads { return {sum_to(grad, from)}; });
}

}  // namespace ratel
