#include "ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"

namespace ratel {
namespace {

/// Which axes go, and the shapes with and without them.
struct Reduction {
  std::vector<int> kept, reduced;
  Shape out_shape, keep_shape;
  int64_t rows = 1, n = 1;
};

Reduction plan(const Tensor& x, const std::vector<int>& axes, const char* name) {
  check(is_float(x.dtype()), name, ": expected a float dtype, found ", x.dtype());
  std::vector<char> gone(static_cast<size_t>(x.rank()), axes.empty());
  for (const int axis : axes) {
    char& flag = gone[static_cast<size_t>(x.shape().normalize_axis(axis))];
    check(flag == 0, name, ": axis ", axis, " is given twice");
    flag = 1;
  }
  Reduction r;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const bool goes = gone[static_cast<size_t>(axis)] != 0;
    (goes ? r.reduced : r.kept).push_back(axis);
    (goes ? r.n : r.rows) *= x.dim(axis);
    r.keep_shape.push_back(goes ? 1 : x.dim(axis));
    if (!goes) r.out_shape.push_back(x.dim(axis));
  }
  return r;
}

/// x with the reduced axes last (or first), contiguous, off the tape.
Tensor arranged(const Tensor& x, const std::vector<int>& first, const std::vector<int>& last) {
  Layout layout = x.layout();
  int to = 0;
  for (const auto& group : {first, last})
    for (const int axis : group) {
      layout.shape.set(to, x.dim(axis));
      layout.strides[static_cast<size_t>(to++)] = x.stride(axis);
    }
  return contiguous(view_of(x, layout));
}

bool leading(const Reduction& r) { return !r.reduced.empty() && !r.kept.empty() && r.reduced.back() < r.kept.front(); }

void run_sum(const ReduceArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::reduce_sum(args, current_stream(device));
  cpu::reduce_sum(args);
}

void run_max(const ReduceArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::reduce_max(args, current_stream(device));
  cpu::reduce_max(args);
}

void run_column_sum(const ColumnSumArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::column_sum(args, current_stream(device));
  cpu::column_sum(args);
}

void run_scatter(const ScatterArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::scatter_rows(args, current_stream(device));
  cpu::scatter_rows(args);
}

double run_sum_of_squares(int64_t n, DType dtype, const void* x, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::sum_of_squares(n, dtype, x, current_stream(device));
  return cpu::sum_of_squares(n, dtype, x);
}

Tensor sum_forward(const Tensor& x, const Reduction& r, KeepDims keep) {
  Tensor out = empty(keep == KeepDims::yes ? r.keep_shape : r.out_shape, x.dtype(), x.device());
  if (leading(r)) {
    const Tensor in = contiguous(detach(x));
    run_column_sum({r.n, r.rows, x.dtype(), in.data(), out.data()}, x.device());
  } else {
    const Tensor in = arranged(x, r.kept, r.reduced);
    run_sum({r.rows, r.n, x.dtype(), in.data(), out.data(), nullptr}, x.device());
  }
  return out;
}

struct Maxima {
  Tensor values, positions;  // those in the reduced axes, i64
};

Maxima maxima_of(const Tensor& x, const Reduction& r, KeepDims keep, const char* name) {
  check(r.n > 0 || r.rows == 0, name, ": there is no maximum of nothing in shape ", x.shape());
  const Shape& shape = keep == KeepDims::yes ? r.keep_shape : r.out_shape;
  Maxima found{empty(shape, x.dtype(), x.device()), empty(shape, DType::i64, x.device())};
  const Tensor in = arranged(x, r.kept, r.reduced);
  run_max({r.rows, r.n, x.dtype(), in.data(), found.values.data(), static_cast<int64_t*>(found.positions.data())},
          x.device());
  return found;
}

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& axes, KeepDims keep) {
  const OpScope scope("sum");
  const Reduction r = plan(x, axes, "sum");
  return record(sum_forward(x, r, keep), "sum", {x},
                [shape = x.shape(), keep_shape = r.keep_shape](const Tensor& grad, const Needs&) -> Grads {
                  return {broadcast_to(reshape(grad, keep_shape), shape)};
                });
}

Tensor mean(const Tensor& x, const std::vector<int>& axes, KeepDims keep) {
  const OpScope scope("mean");
  const Reduction r = plan(x, axes, "mean");
  check(r.n > 0 || r.rows == 0, "mean: nothing to average in shape ", x.shape());
  return mul(sum(x, axes, keep), 1.0 / static_cast<double>(r.n));
}

Tensor max(const Tensor& x, const std::vector<int>& axes, KeepDims keep) {
  const OpScope scope("max");
  const Reduction r = plan(x, axes, "max");
  const auto [values, positions] = maxima_of(x, r, keep, "max");
  return record(
      values, "max", {x}, [positions = positions, r, shape = x.shape()](const Tensor& grad, const Needs&) -> Grads {
        // The gradient at each row's maximum, zeros elsewhere, in x's own order of axes.
        const Tensor g = contiguous(grad);
        const Tensor grad_x = empty({r.rows, r.n}, g.dtype(), g.device());
        run_scatter({r.rows, r.n, g.dtype(), static_cast<const int64_t*>(positions.data()), g.data(), grad_x.data()},
                    g.device());
        Layout layout{shape, {}, 0};
        int64_t stride = 1;
        for (const auto* group : {&r.reduced, &r.kept})
          for (auto axis = group->rbegin(); axis != group->rend(); ++axis) {
            layout.strides[static_cast<size_t>(*axis)] = stride;
            stride *= shape[*axis];
          }
        return {view_of(grad_x, layout)};
      });
}

Tensor argmax(const Tensor& x, int axis, KeepDims keep) {
  const OpScope scope("argmax");
  return maxima_of(x, plan(x, {axis}, "argmax"), keep, "argmax").positions;
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.defined() && x.shape() == shape) return x;
  const OpScope scope("sum_to");
  check(broadcast_shapes(x.shape(), shape, "sum_to") == x.shape(), "sum_to: shape ", shape, " does not broadcast to ",
        x.shape());
  const int lead = x.rank() - shape.rank();
  std::vector<int> axes;
  for (int axis = 0; axis < x.rank(); ++axis)
    if (axis < lead || (shape[axis - lead] == 1 && x.dim(axis) != 1)) axes.push_back(axis);
  return axes.empty() ? reshape(x, shape) : reshape(sum(x, axes), shape);
}

double global_norm(const std::vector<Tensor>& tensors) {
  double total = 0;
  for (const Tensor& x : tensors) {
    if (!x.defined()) continue;
    const Tensor in = contiguous(detach(x));
    total += run_sum_of_squares(in.numel(), in.dtype(), in.data(), in.device());
  }
  return std::sqrt(total);
}

}  // namespace ratel
