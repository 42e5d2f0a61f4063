#include "ops/concat.h"

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/copy.h"
#include "ops/view.h"

namespace ratel {

Tensor concat(const std::vector<Tensor>& parts, int axis) {
  const OpScope scope("concat");
  check(!parts.empty(), "concat: expected at least one tensor");
  const Tensor& first = parts.front();
  const int along = first.shape().normalize_axis(axis);
  Shape shape = first.shape();
  int64_t total = 0;
  for (const Tensor& part : parts) {
    Shape expected = first.shape();
    if (part.rank() == first.rank()) expected.set(along, part.dim(along));
    check(part.shape() == expected, "concat: shapes ", first.shape(), " and ", part.shape(),
          " differ elsewhere than along axis ", axis);
    check(part.dtype() == first.dtype(), "concat: dtypes ", first.dtype(), " and ", part.dtype(), " differ");
    check(part.device() == first.device(), "concat: tensors on ", first.device(), " and ", part.device());
    total += part.dim(along);
  }
  shape.set(along, total);
  Tensor out = empty(shape, first.dtype(), first.device());
  std::vector<int64_t> ends;
  int64_t begin = 0;
  for (const Tensor& part : parts) {
    copy_into(view_of(out, out.layout().sliced(along, begin, begin + part.dim(along))), detach(part));
    ends.push_back(begin += part.dim(along));
  }
  return record(out, "concat", parts, [ends, along](const Tensor& grad, const Needs& needs) -> Grads {
    Grads grads;
    for (size_t i = 0; i < ends.size(); ++i)
      grads.push_back(needs[i] ? slice(grad, along, i == 0 ? 0 : ends[i - 1], ends[i]) : Tensor());
    return grads;
  });
}

Tensor stack(const std::vector<Tensor>& parts, int axis) {
  const OpScope scope("stack");
  check(!parts.empty(), "stack: expected at least one tensor");
  const Shape& from = parts.front().shape();
  const int along = axis < 0 ? axis + from.rank() + 1 : axis;
  check(along >= 0 && along <= from.rank(), "stack: axis ", axis, " does not exist in a result of rank ",
        from.rank() + 1);
  Shape one;
  for (int i = 0; i <= from.rank(); ++i) one.push_back(i == along ? 1 : from[i < along ? i : i - 1]);
  std::vector<Tensor> layers;
  for (const Tensor& part : parts) {
    check(part.shape() == from, "stack: shapes ", from, " and ", part.shape(), " differ");
    layers.push_back(reshape(part, one));
  }
  return concat(layers, along);
}

}  // namespace ratel
