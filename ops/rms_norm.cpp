#include "ops/rms_norm.h"

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

/// x^(-1/2), the one function the composed version needs that is no op of its own: e^(-log(x) / 2) would cost digits.
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

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  const OpScope scope("rms_norm");
  check_arguments(x, weight);
  const Tensor in = contiguous(detach(x)), w = contiguous(detach(weight));
  const int64_t C = x.dim(-1), rows = x.numel() / C;
  Tensor y = empty_like(in);
  const Tensor inverse_rms = empty({rows}, accumulate_dtype(x.dtype()), x.device());
  run_forward({rows, C, x.dtype(), in.data(), w.data(), y.data(), inverse_rms.data(), eps}, x.device());
  return record(y, "rms_norm", {x, weight},
                [rows, C, x = Saved(in), w = Saved(w), inverse_rms](const Tensor& grad, const Needs& needs) -> Grads {
                  const Tensor g = contiguous(grad);
                  const DType dtype = g.dtype();
                  const Tensor grad_x = needs[0] ? empty_like(g) : Tensor();
                  const Tensor grad_w = needs[1] ? empty({C}, accumulate_dtype(dtype), g.device()) : Tensor();
                  run_backward({rows, C, dtype, x->data(), w->data(), inverse_rms.data(), g.data(),
                                needs[0] ? grad_x.data() : nullptr, needs[1] ? grad_w.data() : nullptr},
                               g.device());
                  return {grad_x, needs[1] ? to(grad_w, needs.dtype(1)) : grad_w};
                });
}

Tensor rms_norm_reference(const Tensor& x, const Tensor& weight, double eps) {
  check_arguments(x, weight);
  return x * inverse_root(mean(x * x, {-1}, KeepDims::yes) + eps) * weight;
}

}  // namespace ratel
