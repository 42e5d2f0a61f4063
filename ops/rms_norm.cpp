#include "ops/rms_norm.h"

#include <array>
#include <cmath>

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"

namespace ratel {
namespace {

void check_arguments(const Tensor& x, const Tensor& weight) {
  check(is_float(x.dtype()) && weight.dtype() == x.dtype(),
        "rms_norm: expected x and weight of one float dtype, found ", x.dtype(), " and ", weight.dtype());
  check(x.rank() >= 1 && weight.rank() == 1 && x.dim(-1) == weight.dim(0),
        "rms_norm: expected x (..., C) and weight (C), found ", x.shape(), " and ", weight.shape());
  check(x.dim(-1) > 0, "rms_norm: there is no mean over the last axis of shape ", x.shape());
  check(x.device() == weight.device(), "rms_norm: tensors on ", x.device(), " and ", weight.device());
}

void run_forward(const RmsNormArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::rms_norm_forward(args, current_stream(device));
  cpu::rms_norm_forward(args);
}

void run_backward(const RmsNormBackwardArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::rms_norm_backward(args, current_stream(device));
  cpu::rms_norm_backward(args);
}

/// x^(-1/2), rounded once, which 1 / sqrt(x) is not.
Tensor inverse_root(const Tensor& x) {
  const Tensor in = contiguous(detach(x));
  Tensor out = empty_like(in);
  visit_float(x.dtype(), "rms_norm", [&]<class T>() {
    using A = accumulate_t<T>;
    for (int64_t i = 0; i < in.numel(); ++i)
      out.data<T>()[i] = convert_element<T>(1 / std::sqrt(convert_element<A>(in.data<T>()[i])));
  });
  return record(out, "inverse_root", {x},
                [y = Saved(out)](const Tensor& grad, const Needs&) -> Grads { return {grad * (*y * *y * *y * -0.5)}; });
}

/// What backward needs of a forward.
struct Kept {
  int64_t rows, C;
  Saved x, weight;
  Tensor inverse_rms;
};

struct Forward {
  Tensor y;
  Kept kept;
};
Forward forward(const Tensor& x, const Tensor& weight, double eps) {
  check_arguments(x, weight);
  const Tensor in = contiguous(detach(x)), w = contiguous(detach(weight));
  const int64_t C = x.dim(-1), rows = x.numel() / C;
  Tensor y = empty_like(in);
  const Tensor inverse_rms = empty({rows}, accumulate_dtype(x.dtype()), x.device());
  run_forward({rows, C, x.dtype(), in.data(), w.data(), y.data(), inverse_rms.data(), eps}, x.device());
  return {y, {rows, C, Saved(in), Saved(w), inverse_rms}};
}

/// The gradients of x and weight; an undefined grad_residual counts as zero.
Grads backward(const Kept& kept, const Tensor& grad, const Tensor& grad_residual, const Needs& needs) {
  const Tensor g = contiguous(grad), residual = grad_residual.defined() ? contiguous(grad_residual) : Tensor();
  const DType dtype = g.dtype();
  const auto data = [](const Tensor& of) { return of.defined() ? of.data() : nullptr; };
  const Tensor grad_x = needs[0] ? empty_like(g) : Tensor();
  const Tensor grad_w = needs[1] ? empty({kept.C}, accumulate_dtype(dtype), g.device()) : Tensor();
  run_backward({kept.rows, kept.C, dtype, kept.x->data(), kept.weight->data(), kept.inverse_rms.data(), g.data(),
                data(residual), data(grad_x), data(grad_w)},
               g.device());
  return {grad_x, needs[1] ? to(grad_w, needs.dtype(1)) : grad_w};
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  const OpScope scope("rms_norm");
  const Forward result = forward(x, weight, eps);
  return record(result.y, "rms_norm", {x, weight},
                [kept = result.kept](const Tensor& grad, const Needs& needs) -> Grads {
                  return backward(kept, grad, {}, needs);
                });
}

NormAndResidual rms_norm_residual(const Tensor& x, const Tensor& weight, double eps) {
  const OpScope scope("rms_norm_residual");
  const Forward result = forward(x, weight, eps);
  std::array<Tensor, 2> outputs{result.y, detach(x)};
  record(outputs, "rms_norm_residual", {x, weight},
         [kept = result.kept](std::span<const Tensor> grads, const Needs& needs) -> Grads {
           if (!grads[0].defined()) return {grads[1], {}};
           return backward(kept, grads[0], grads[1], needs);
         });
  return {outputs[0], outputs[1]};
}

Tensor rms_norm_reference(const Tensor& x, const Tensor& weight, double eps) {
  check_arguments(x, weight);
  return x * inverse_root(mean(x * x, {-1}, KeepDims::yes) + eps) * weight;
}

NormAndResidual rms_norm_residual_reference(const Tensor& x, const Tensor& weight, double eps) {
  return {rms_norm_reference(x, weight, eps), x};
}

}  // namespace ratel
