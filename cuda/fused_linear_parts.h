#pragma once

#include "cuda/device.h"
#include "cuda/gelu.h"
#include "cuda/inverse_root.h"
#include "ops/fused_linear.h"

namespace ratel::cuda {

/// The kernel of fused_linear_tensor_core.cu: bf16, rows of whole multiples of 16 bytes.
void fused_linear_tensor_core(const FusedLinearArgs& args, Stream stream);

/// The norm's factor of a row of x, from the sum of its squares.
template <class A>
__device__ A norm_factor(const FusedLinearArgs& args, double squares) {
  return inverse_root<A>(squares / static_cast<double>(args.K) + args.norm_eps);
}

/// What follows the normalised product `y` of row m of x with row n of the weight: the activation, the residual.
template <class T>
__device__ void finish_product(const FusedLinearArgs& args, int m, int64_t n, accumulate_t<T> y) {
  using A = accumulate_t<T>;
  if (args.activation == Activation::gelu) y = gelu_for<T>(y);
  if (args.residual != nullptr) y += convert_element<A>(static_cast<const T*>(args.residual)[m * args.N + n]);
  static_cast<T*>(args.y)[m * args.N + n] = round_to<T>(y);
}

}  // namespace ratel::cuda
