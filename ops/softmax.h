#pragma once

#include "core/stream.h"
#include "core/tensor.h"

namespace ratel {

/// Softmax of the last axis:  y[..., n] = exp(x[..., n] - m) / sum_n exp(x[..., n] - m),  m the row's maximum.
///
///   x        (..., N)  f64 | f32 | bf16, any layout, N >= 1; -inf entries get probability 0
///   returns  (..., N)  contiguous; computed in f32 (f64 for f64), rounded once
///
/// Gradient: x. Deterministic. A row of nothing but -inf gives NaN. Throws Error where the dtype is not a float.
/// Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990; less the
/// maximum, so that nothing overflows.
Tensor softmax(const Tensor& x);
/// log softmax, without underflow: x - m - log sum_n exp(x - m). Gradient: x.
Tensor log_softmax(const Tensor& x);

/// The same, composed from max, sub, exp, sum and div.
Tensor softmax_reference(const Tensor& x);
Tensor log_softmax_reference(const Tensor& x);

enum class SoftmaxKind { probability, log };
struct SoftmaxArgs {
  SoftmaxKind kind;
  int64_t rows, N;
  DType dtype;
  const void* x;
  void* y;
};
struct SoftmaxBackwardArgs {
  SoftmaxKind kind;
  int64_t rows, N;
  DType dtype;
  const void *y, *grad;
  void* grad_x;
};
namespace cpu {
void softmax_forward(const SoftmaxArgs& args);
void softmax_backward(const SoftmaxBackwardArgs& args);
}  // namespace cpu
namespace cuda {
void softmax_forward(const SoftmaxArgs& args, Stream stream);
void softmax_backward(const SoftmaxBackwardArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
