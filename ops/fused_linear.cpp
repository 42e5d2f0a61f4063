#include "ops/fused_linear.h"

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/unary.h"

namespace ratel {
namespace {

constexpr const char* kName = "fused_linear";

void check_arguments(const Tensor& x, const Tensor& weight, const LinearFusion& fusion) {
  check(x.rank() >= 2 && x.dim(-1) >= 1 && weight.rank() == 2 && weight.dim(1) == x.dim(-1), kName,
        ": expected x (..., K) of two axes or more and a weight (N, K), found ", x.shape(), " and ", weight.shape());
  check(is_float(x.dtype()), kName, ": expected a float dtype, found ", x.dtype());
  Shape out = x.shape();
  out.set(-1, weight.dim(0));
  const auto check_like_x = [&](const char* name, const Tensor& of, const Shape& expected) {
    check(of.shape() == expected && of.dtype() == x.dtype() && of.device() == x.device(), kName, ": expected ", name,
          ' ', expected, " in ", x.dtype(), " on ", x.device(), ", found ", of.shape(), " in ", of.dtype(), " on ",
          of.device());
  };
  check_like_x("a weight", weight, weight.shape());
  if (fusion.norm_weight.defined()) check_like_x("a norm's weight", fusion.norm_weight, {x.dim(-1)});
  if (fusion.residual.defined()) check_like_x("a residual", fusion.residual, out);
}

bool wants_gradient(const Tensor& x) { return x.defined() && needs_grad(x); }

void run(const FusedLinearArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::fused_linear(args, current_stream(device));
  cpu::fused_linear(args);
}

/// Whether one kernel computes it all: few rows, and nobody wants a gradient. A copy of the weight, in order, would be
/// a kernel of the same graph, and could be read before it is there (FusedLinearArgs).
bool is_one_kernel(const Tensor& x, const Tensor& weight, const LinearFusion& fusion) {
  const bool is_recorded = !grad_enabled() ? grad_expected()
                                           : wants_gradient(x) || wants_gradient(weight) ||
                                                 wants_gradient(fusion.norm_weight) || wants_gradient(fusion.residual);
  return !is_recorded && weight.is_contiguous() && x.numel() / x.dim(-1) <= kFewFusedRows;
}

Tensor one_kernel(const Tensor& x, const Tensor& weight, const LinearFusion& fusion) {
  Shape shape = x.shape();
  shape.set(-1, weight.dim(0));
  Tensor y = empty(shape, x.dtype(), x.device());
  if (y.numel() == 0) return y;
  const auto in_order = [](const Tensor& of) { return of.defined() ? contiguous(detach(of)) : of; };
  const auto data = [](const Tensor& of) { return of.defined() ? of.data() : nullptr; };
  const Tensor in = in_order(x), norm = in_order(fusion.norm_weight), residual = in_order(fusion.residual);
  run({.rows = x.numel() / x.dim(-1),
       .N = weight.dim(0),
       .K = x.dim(-1),
       .dtype = x.dtype(),
       .x = in.data(),
       .weight = weight.data(),
       .norm_weight = data(norm),
       .residual = data(residual),
       .y = y.data(),
       .norm_eps = fusion.norm_eps,
       .activation = fusion.activation},
      x.device());
  return y;
}

/// What follows the norm, by ops of their own. A residual is added by the product where nothing comes between.
Tensor composed(const Tensor& in, const Tensor& weight, const LinearFusion& fusion) {
  if (fusion.activation == Activation::none && fusion.residual.defined()) return matmul_nt(in, weight, fusion.residual);
  const Tensor product = matmul_nt(in, weight);
  const Tensor active = fusion.activation == Activation::gelu ? gelu(product) : product;
  return fusion.residual.defined() ? fusion.residual + active : active;
}

}  // namespace

Tensor fused_linear(const Tensor& x, const Tensor& weight, const LinearFusion& fusion) {
  const OpScope scope(kName);
  check_arguments(x, weight, fusion);
  if (is_one_kernel(x, weight, fusion)) return one_kernel(x, weight, fusion);
  return composed(fusion.norm_weight.defined() ? rms_norm(x, fusion.norm_weight, fusion.norm_eps) : x, weight, fusion);
}

BranchStart fused_linear_branch(const Tensor& x, const Tensor& weight, const LinearFusion& fusion) {
  const OpScope scope(kName);
  check_arguments(x, weight, fusion);
  check(fusion.norm_weight.defined(), kName, ": expected a norm's weight at the start of a branch");
  if (is_one_kernel(x, weight, fusion)) return {one_kernel(x, weight, fusion), x};
  const auto [norm, residual] = rms_norm_residual(x, fusion.norm_weight, fusion.norm_eps);
  return {composed(norm, weight, fusion), residual};
}

Tensor fused_linear_reference(const Tensor& x, const Tensor& weight, const LinearFusion& fusion) {
  check_arguments(x, weight, fusion);
  const Tensor in = fusion.norm_weight.defined() ? rms_norm(x, fusion.norm_weight, fusion.norm_eps) : x;
  const Tensor product = matmul_nt(in, weight);
  const Tensor active = fusion.activation == Activation::gelu ? gelu(product) : product;
  return fusion.residual.defined() ? fusion.residual + active : active;
}

}  // namespace ratel
