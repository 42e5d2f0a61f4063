#pragma once

#include "core/tensor.h"

namespace ratel {

/// Root-mean-square normalisation of the last axis:  y[..., c] = x[..., c] / sqrt(mean_c(x^2) + eps) * weight[c].
///
///   x        (..., C)  f64 | f32 | bf16, any layout
///   weight   (C)       dtype of x
///   returns  (..., C)  contiguous; statistics and products in f32 (f64 for f64), rounded once
///
/// Gradients: x, weight. Deterministic on every device. Throws Error where shapes or dtypes do not fit.
/// Source: Zhang and Sennrich, "Root mean square layer normalization", arXiv 1910.07467; eps as in RAT+.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps = 1e-6);

/// The same, composed from elementwise ops.
Tensor rms_norm_reference(const Tensor& x, const Tensor& weight, double eps = 1e-6);

/// The norm at the beginning of a residual branch, and x again for the sum at the branch's end.
struct NormAndResidual {
  Tensor norm;
  Tensor residual;  ///< a view of x
};
/// rms_norm, and x. Whoever reads x both ways has two gradients of it: here norm's backward adds them in its kernel,
/// grad_x = J^T grad_norm + grad_residual, rounded once. Either output may go unused; without the norm the weight has
/// no gradient. Gradients: x, weight. Throws as rms_norm does.
NormAndResidual rms_norm_residual(const Tensor& x, const Tensor& weight, double eps = 1e-6);

/// The reference of rms_norm, and x itself.
NormAndResidual rms_norm_residual_reference(const Tensor& x, const Tensor& weight, double eps = 1e-6);

/// inverse_rms (rows), f32 (f64 for f64), is kept for backward.
struct RmsNormArgs {
  int64_t rows, C;
  DType dtype;
  const void *x, *weight;
  void *y, *inverse_rms;
  double eps;
};
/// grad_x (rows, C) in dtype and grad_weight (C) in accumulate_dtype(dtype); either may be null. grad_residual (rows,
/// C) in dtype is added to grad_x; null: nothing is.
struct RmsNormBackwardArgs {
  int64_t rows, C;
  DType dtype;
  const void *x, *weight, *inverse_rms, *grad, *grad_residual;
  void *grad_x, *grad_weight;
};
namespace cpu {
void rms_norm_forward(const RmsNormArgs& args);
void rms_norm_backward(const RmsNormBackwardArgs& args);
}  // namespace cpu
namespace cuda {
void rms_norm_forward(const RmsNormArgs& args, Stream stream);
void rms_norm_backward(const RmsNormBackwardArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
