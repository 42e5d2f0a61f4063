#pragma once

#include "core/tensor.h"

namespace ratel {

/// Elementwise functions.
///
///   x        any shape and layout, f64 | f32 | bf16
///   returns  x's shape, contiguous, dtype of x; bf16 computes in f32 and rounds once
///
/// Gradient: x. Deterministic. Throws Error where the dtype is not a float.
Tensor exp(const Tensor& x);   ///< on the CPU, in f32 and bf16, 0 where e^x is below 1.7e-38
Tensor log(const Tensor& x);   ///< NaN below 0, -inf at 0
Tensor sqrt(const Tensor& x);  ///< NaN below 0; the gradient at 0 is infinite
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);  ///< 1 / (1 + e^-x), without overflow for any x
Tensor abs(const Tensor& x);      ///< the gradient at 0 is 0
Tensor relu(const Tensor& x);     ///< max(x, 0); the gradient at 0 is 0; NaN stays NaN
Tensor silu(const Tensor& x);     ///< x sigmoid(x)
/// x Phi(x) with the normal distribution's Phi(x) = (1 + erf(x / sqrt 2)) / 2: the exact form, not the tanh one.
/// Source: Hendrycks and Gimpel, "Gaussian error linear units", arXiv 1606.08415.
Tensor gelu(const Tensor& x);

/// The same from the C library's scalar functions, rounded after each: the definition, and the oracle for the kernels.
Tensor sigmoid_reference(const Tensor& x);
Tensor silu_reference(const Tensor& x);
Tensor gelu_reference(const Tensor& x);

enum class UnaryOp { exp, log, sqrt, tanh, sigmoid, abs, relu, silu, gelu };
/// out = f(x) over n contiguous elements.
struct UnaryArgs {
  UnaryOp op;
  int64_t n;
  DType dtype;
  const void* x;
  void* out;
};
/// grad_x = grad f'(x); `kept` is the output for exp and sqrt, the input for the others.
struct UnaryBackwardArgs {
  UnaryOp op;
  int64_t n;
  DType dtype;
  const void *kept, *grad;
  void* grad_x;
};
namespace cpu {
void unary_forward(const UnaryArgs& args);
void unary_backward(const UnaryBackwardArgs& args);
}  // namespace cpu
namespace cuda {
void unary_forward(const UnaryArgs& args, Stream stream);
void unary_backward(const UnaryBackwardArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
