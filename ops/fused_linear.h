#pragma once

#include "core/tensor.h"

namespace ratel {

enum class Activation { none, gelu };

/// What stands around a linear layer of a pre-norm network. What is left out is not there.
struct LinearFusion {
  Tensor norm_weight = {};  ///< (K): x is normalised first
  double norm_eps = 1e-6;
  Activation activation = Activation::none;
  Tensor residual = {};  ///< the result's shape: is added last
};

/// A linear layer with what stands before and after it:  y = residual + activation(rms_norm(x) W^T).
///
///   x        (..., K)  f64 | f32 | bf16, rank >= 2, any layout, K >= 1
///   weight   (N, K)    dtype of x, as norm_weight and residual
///   returns  (..., N)
///
/// Up to kFewFusedRows rows of x, those of decoding, and a contiguous weight are one kernel that reads the weight once,
/// which bounds it, and computes in f32 (f64 for f64) with one rounding at the end; a GPU, for several rows of bf16 or
/// one too long for its shared memory, rounds x times the norm's weight too. All else, and all where a gradient is
/// wanted, in the first run of checkpoint() too, are ops of their own, with their gradients; there the product adds the
/// residual, unless an activation comes between.
/// Deterministic. Throws Error where shapes, dtypes or devices do not fit.
Tensor fused_linear(const Tensor& x, const Tensor& weight, const LinearFusion& fusion = {});

/// The projection that a residual branch begins with, and x again for the residual at its end.
struct BranchStart {
  Tensor y;
  Tensor residual;  ///< x, or a view of it
};
/// fused_linear with a norm, and x. Where a gradient is wanted, the norm's backward adds that of the residual:
/// rms_norm_residual. Throws as fused_linear does, and where there is no norm's weight.
BranchStart fused_linear_branch(const Tensor& x, const Tensor& weight, const LinearFusion& fusion);

/// fused_linear composed of rms_norm, matmul_nt, gelu and add: the definition.
Tensor fused_linear_reference(const Tensor& x, const Tensor& weight, const LinearFusion& fusion = {});

inline constexpr int64_t kFewFusedRows = 16;

/// Contiguous; norm_weight and residual (rows, N) may be null. 1 <= rows <= kFewFusedRows. A GPU may read `weight`
/// before the kernels before this one have ended, in a graph of Weights::constant (core/device_graph.h).
struct FusedLinearArgs {
  int64_t rows, N, K;
  DType dtype;
  const void *x, *weight, *norm_weight, *residual;
  void* y;
  double norm_eps;
  Activation activation;
};
namespace cpu {
void fused_linear(const FusedLinearArgs& args);
}  // namespace cpu
namespace cuda {
void fused_linear(const FusedLinearArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
