#include "ops/head_loss.h"

#include <algorithm>

#include "autograd/grad_mode.h"
#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/cross_entropy.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/view.h"

namespace ratel {
namespace {

constexpr int64_t kChunkLogits = int64_t{1} << 28;  // 512 MB in bf16

void check_arguments(const Tensor& x, const Tensor& weight) {
  check(x.rank() >= 1 && weight.rank() == 2 && x.dim(-1) == weight.dim(1) && weight.dim(0) >= 1,
        "head_loss: expected x (..., C) and weight (V, C), found ", x.shape(), " and ", weight.shape());
  check(is_float(x.dtype()) && weight.dtype() == x.dtype(),
        "head_loss: expected x and weight of one float dtype, found ", x.dtype(), " and ", weight.dtype());
  check(x.device() == weight.device(), "head_loss: tensors on ", x.device(), " and ", weight.device());
}

Shape without_last(const Shape& shape) { return Shape(shape.dims().first(static_cast<size_t>(shape.rank() - 1))); }

void check_labels(const Tensor& x, const Tensor& labels) {
  check(labels.shape() == without_last(x.shape()), "head_loss: expected x (..., C) and labels (...), found ", x.shape(),
        " and ", labels.shape());
}

}  // namespace

Tensor head_loss(const Tensor& x, const Tensor& weight, const Tensor& labels, int64_t chunk) {
  const OpScope scope("head_loss");
  check_arguments(x, weight);
  check_labels(x, labels);
  return head_loss(x, weight, count_labels("head_loss", labels, weight.dim(0), x.device()), chunk);
}

Tensor head_loss(const Tensor& x, const Tensor& weight, const CountedLabels& counted, int64_t chunk) {
  const OpScope scope("head_loss");
  check_arguments(x, weight);
  check_labels(x, counted.labels);
  check(counted.labels.dtype() == DType::i64 && counted.labels.is_contiguous() && counted.share.numel() == 1 &&
            counted.share.dtype() == DType::f64 && counted.labels.device() == x.device() &&
            counted.share.device() == x.device(),
        "head_loss: expected counted labels as contiguous i64 and their share as one f64 on ", x.device());
  check(chunk >= 0, "head_loss: expected a chunk of 0 or more tokens, found ", chunk);
  const int64_t V = weight.dim(0), C = x.dim(-1), n = counted.labels.numel();
  const Tensor labels = reshape(counted.labels, {n});
  const int64_t rows = std::max<int64_t>(1, chunk > 0 ? chunk : kChunkLogits / V);
  const bool wants_x = grad_enabled() && needs_grad(x), wants_weight = grad_enabled() && needs_grad(weight);
  const DType wide = accumulate_dtype(x.dtype());

  const NoGrad no_grad;
  const Tensor in = reshape(contiguous(detach(x)), {n, C}), w = contiguous(detach(weight));
  const Tensor losses = empty({n}, wide, x.device());
  const Tensor grad_x = wants_x ? empty({n, C}, x.dtype(), x.device()) : Tensor();
  const Tensor grad_weight = wants_weight ? zeros({V, C}, wide, x.device()) : Tensor();
  for (int64_t begin = 0; begin < n; begin += rows) {
    const int64_t end = std::min(begin + rows, n);
    const Tensor some = slice(in, 0, begin, end), some_labels = slice(labels, 0, begin, end);
    const Tensor logits = matmul_nt(some, w);  // (rows, V)
    const auto into_gradient = wants_x || wants_weight ? LogitsBecome::gradient : LogitsBecome::nothing;
    copy_into(slice(losses, 0, begin, end), take_losses(logits, some_labels, counted.share, into_gradient));
    if (wants_x) matmul_into(slice(grad_x, 0, begin, end), logits, w);
    if (wants_weight) add_matmul_tn_into(grad_weight, logits, some);
  }
  const Tensor loss = to(mul(sum(to(losses, DType::f64)), counted.share), wide);
  const GradMode as_before(wants_x || wants_weight);
  return record(
      loss, "head_loss", {x, weight},
      [grad_x, grad_weight, shape = x.shape(), dtype = x.dtype()](const Tensor& grad, const Needs& needs) -> Grads {
        Tensor for_x, for_weight;
        if (needs[0]) for_x = reshape(to(mul(to(grad_x, grad.dtype()), grad), dtype), shape);
        if (needs[1]) for_weight = to(mul(grad_weight, grad), needs.dtype(1));
        return {for_x, for_weight};
      });
}

Tensor head_loss_reference(const Tensor& x, const Tensor& weight, const Tensor& labels) {
  check_arguments(x, weight);
  const Tensor rows = reshape(x, {labels.numel(), x.dim(-1)});
  return cross_entropy_reference(matmul_reference(rows, transpose(weight, 0, 1)), reshape(labels, {labels.numel()}));
}

}  // namespace ratel
