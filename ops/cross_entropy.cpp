#include "ops/cross_entropy.h"

#include <algorithm>
#include <utility>

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/view.h"

namespace ratel {
namespace {

void run_forward(const CrossEntropyArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::cross_entropy_forward(args, current_stream(device));
  cpu::cross_entropy_forward(args);
}

void run_backward(const CrossEntropyBackwardArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::cross_entropy_backward(args, current_stream(device));
  cpu::cross_entropy_backward(args);
}

/// Row-major arguments of the kernels, off the tape.
struct Checked {
  Tensor logits;
  CountedLabels labels;
  int64_t rows = 0, V = 0;
  DType wide = DType::f32;
};

/// "(1, 3)": the index of an element counted in row-major order.
Shape index_of(int64_t position, const Shape& shape) {
  Shape index = shape;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index.set(axis, position % shape[axis]);
    position /= shape[axis];
  }
  return index;
}

Checked checked(const char* name, const Tensor& logits, const Tensor& labels) {
  check(is_float(logits.dtype()), name, ": expected logits of a float dtype, found ", logits.dtype());
  check(logits.rank() >= 1 && logits.dim(-1) >= 1 &&
            std::ranges::equal(logits.shape().dims().first(static_cast<size_t>(logits.rank() - 1)),
                               labels.shape().dims()),
        name, ": expected logits (..., V) and labels (...), found ", logits.shape(), " and ", labels.shape());
  check(logits.device() == labels.device(), name, ": logits on ", logits.device(), ", labels on ", labels.device());
  const int64_t V = logits.dim(-1);
  return {contiguous(detach(logits)), count_labels(name, labels, V, logits.device()), labels.numel(), V,
          accumulate_dtype(logits.dtype())};
}

/// Losses of all rows, and what backward needs.
struct Losses {
  Tensor loss, kept;
};

Losses losses_of(const Tensor& logits, const Tensor& labels) {
  const OpScope scope("cross_entropy");
  const int64_t rows = labels.numel(), V = logits.dim(-1);
  const DType wide = accumulate_dtype(logits.dtype());
  Losses out{empty({rows}, wide, logits.device()), empty({rows, 2}, wide, logits.device())};
  run_forward({rows, V, logits.dtype(), logits.data(), static_cast<const int64_t*>(labels.data()), out.loss.data(),
               out.kept.data()},
              logits.device());
  return out;
}

}  // namespace

CountedLabels count_labels(const char* op, const Tensor& labels, int64_t V, Device device) {
  check(labels.dtype() == DType::i64 || labels.dtype() == DType::i32, op, ": expected labels i64 or i32, found ",
        labels.dtype());
  check(labels.device() == device, op, ": logits on ", device, ", labels on ", labels.device());
  Tensor in_order = contiguous(to(detach(labels), DType::i64));
  const Tensor host = to(in_order, kCpu);
  const auto* label = host.data<int64_t>();
  int64_t counted = 0;
  for (int64_t row = 0; row < labels.numel(); ++row) {
    if (label[row] == kIgnoreIndex) continue;
    if (label[row] < 0 || label[row] >= V)  // finding its index takes longer than looking at all labels
      fail(op, ": label ", label[row], " at ", index_of(row, labels.shape()), " is neither in [0, ", V, ") nor ",
           kIgnoreIndex, " (ignored)");
    ++counted;
  }
  return {std::move(in_order), full({}, label_share(counted), DType::f64, device)};
}

Tensor take_losses(const Tensor& logits, const Tensor& labels, const Tensor& share, LogitsBecome what) {
  const Losses losses = losses_of(logits, labels);
  if (what == LogitsBecome::nothing) return losses.loss;
  const Tensor one = ones({}, losses.loss.dtype(), logits.device());
  run_backward(
      {labels.numel(), logits.dim(-1), logits.dtype(), logits.data(), static_cast<const int64_t*>(labels.data()),
       losses.kept.data(), logits.data(), one.data(), static_cast<const double*>(share.data())},
      logits.device());
  logits.storage()->bump_version();
  return losses.loss;
}

Tensor cross_entropy(const Tensor& logits, const Tensor& labels) {
  const OpScope scope("cross_entropy");
  const Checked in = checked("cross_entropy", logits, labels);
  const Losses losses = losses_of(in.logits, in.labels.labels);
  const Tensor& share = in.labels.share;
  return record(to(mul(sum(to(losses.loss, DType::f64)), share), in.wide), "cross_entropy", {logits},
                [rows = in.rows, V = in.V, share, shape = logits.shape(), logits = Saved(in.logits),
                 labels = Saved(in.labels.labels), kept = losses.kept](const Tensor& grad, const Needs&) -> Grads {
                  Tensor grad_logits = empty(shape, logits->dtype(), logits->device());
                  run_backward({rows, V, logits->dtype(), logits->data(), static_cast<const int64_t*>(labels->data()),
                                kept.data(), grad_logits.data(), grad.data(), static_cast<const double*>(share.data())},
                               logits->device());
                  return {grad_logits};
                });
}

Tensor cross_entropy_reference(const Tensor& logits, const Tensor& labels) {
  const Checked in = checked("cross_entropy", logits, labels);
  const Tensor one_hot = zeros({in.rows, in.V}, in.wide);
  visit_float(in.wide, "cross_entropy", [&]<class T>() {
    for (int64_t row = 0; row < in.rows; ++row)
      if (const int64_t label = in.labels.labels.data<int64_t>()[row]; label != kIgnoreIndex)
        one_hot.data<T>()[row * in.V + label] = convert_element<T>(1.0F);
  });
  const Tensor logs = to(reshape(log_softmax_reference(logits), {in.rows, in.V}), in.wide);
  return sum(logs * one_hot) * -in.labels.share.item();
}

Tensor token_losses(const Tensor& logits, const Tensor& labels) {
  const OpScope scope("token_losses");
  const Checked in = checked("token_losses", logits, labels);
  return reshape(losses_of(in.logits, in.labels.labels).loss, labels.shape());
}

}  // namespace ratel
