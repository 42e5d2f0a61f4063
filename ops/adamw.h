#pragma once

#include "core/tensor.h"

namespace ratel {

/// One AdamW step on one parameter, in place:
///   p <- p (1 - rate decay);  m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
///   p <- p - rate / (1 - beta1^step)  m / (sqrt(v) / sqrt(1 - beta2^step) + eps)        with g = grad_scale * grad
///
///   parameter, m, v  one shape, contiguous; m and v f32 (f64 for an f64 parameter); parameter f32 or f64
///   grad             the same shape and dtype as m
///   step             counts from 1
///
/// Not on the tape; counts as a change of parameter, m and v. Deterministic.
/// Throws Error where shapes or dtypes do not fit.
/// Source: Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv 1711.05101.
struct AdamWStep {
  double rate, beta1, beta2, eps, decay;
  int64_t step;
  double grad_scale = 1;
};
void adamw(const Tensor& parameter, const Tensor& grad, const Tensor& m, const Tensor& v, const AdamWStep& step);

struct AdamWArgs {
  int64_t n;
  DType dtype;
  void *parameter, *m, *v;
  const void* grad;
  AdamWStep step;
};
namespace cpu {
void adamw(const AdamWArgs& args);
}  // namespace cpu
namespace cuda {
void adamw(const AdamWArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
