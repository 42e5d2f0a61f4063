#pragma once

#include "core/tensor.h"

namespace custom {

/// SwiGLU, the gated half of a feed-forward layer:  y = silu(gate) up,  silu(z) = z sigmoid(z).
///
///   gate, up  one shape, one float dtype, any layout
///   returns   that shape, contiguous; computed in f32 (f64 for f64), rounded once
///
/// Gradients: gate, up. Deterministic. Throws ratel::Error where shapes, dtypes or devices do not fit, and for
/// tensors on a GPU, for which it has no kernel.
/// Source: Shazeer, "GLU variants improve transformer", arXiv 2002.05202.
ratel::Tensor swiglu(const ratel::Tensor& gate, const ratel::Tensor& up);

/// The same, composed from silu and mul: the definition, and the oracle for the kernel.
ratel::Tensor swiglu_reference(const ratel::Tensor& gate, const ratel::Tensor& up);

/// n contiguous elements.
struct SwigluArgs {
  int64_t n;
  ratel::DType dtype;
  const void *gate, *up;
  void* y;
};
/// grad_gate and grad_up may be null where nobody wants them.
struct SwigluBackwardArgs {
  int64_t n;
  ratel::DType dtype;
  const void *gate, *up, *grad;
  void *grad_gate, *grad_up;
};
namespace cpu {
void swiglu_forward(const SwigluArgs& args);
void swiglu_backward(const SwigluBackwardArgs& args);
}  // namespace cpu

}  // namespace custom
