#include "ops/adamw.h"

#include <algorithm>
#include <cmath>

#include "autograd/gradient.h"
#include "core/op_scope.h"
#include "ops/reduce.h"

namespace ratel {
namespace {

void run(const AdamWArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::adamw(args, current_stream(device));
  cpu::adamw(args);
}

double run_clipped(AdamWArgs args, double clip, const std::vector<Tensor>& grads, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::clipped_adamw(args, clip, current_stream(device));
  const double norm = global_norm(grads);
  if (!std::isfinite(norm)) return norm;
  if (clip > 0) args.step.grad_scale *= std::min(1.0, clip / (norm + kClipEps));
  cpu::adamw(args);
  return norm;
}

AdamWItem checked(const AdamWParameter& p) {
  const Tensor& parameter = p.parameter;
  const DType dtype = parameter.dtype();
  check(dtype == DType::f32 || dtype == DType::f64, "adamw: expected a parameter of f32 or f64, found ", dtype);
  for (const Tensor& other : {p.grad, p.m, p.v}) {
    check(other.shape() == parameter.shape() && other.dtype() == dtype, "adamw: expected gradient and moments of ",
          dtype, ' ', parameter.shape(), ", found ", other.dtype(), ' ', other.shape());
    check(other.device() == parameter.device(), "adamw: tensors on ", parameter.device(), " and ", other.device());
    check(other.is_contiguous(), "adamw: gradient and moments must be contiguous");
  }
  check(parameter.is_contiguous() && is_leaf(parameter), "adamw: the parameter must be a contiguous leaf");
  if (p.copy.defined())
    check(p.copy.dtype() == DType::bf16 && p.copy.shape() == parameter.shape() && p.copy.is_contiguous() &&
              is_leaf(p.copy) && p.copy.device() == parameter.device(),
          "adamw: expected the copy as a contiguous bf16 leaf ", parameter.shape(), " on ", parameter.device(),
          ", found ", p.copy.dtype(), ' ', p.copy.shape(), " on ", p.copy.device());
  return {parameter.numel(), parameter.data(), p.m.data(),
          p.v.data(),        p.grad.data(),    p.copy.defined() ? p.copy.data() : nullptr};
}

void check_step(const AdamWStep& step) { check(step.step >= 1, "adamw: steps count from 1, found ", step.step); }

void note_change(const AdamWParameter& p) {
  for (const Tensor& changed : {p.parameter, p.m, p.v, p.copy})
    if (changed.defined()) changed.storage()->bump_version();
}

}  // namespace

void adamw(const Tensor& parameter, const Tensor& grad, const Tensor& m, const Tensor& v, const AdamWStep& step) {
  const AdamWParameter one{parameter, grad, m, v, {}};
  const AdamWItem item = checked(one);
  check_step(step);
  run({parameter.dtype(), {&item, 1}, step}, parameter.device());
  note_change(one);
}

double clipped_adamw(const std::vector<AdamWParameter>& parameters, const AdamWStep& step, double clip) {
  const OpScope scope("adamw");
  check_step(step);
  if (parameters.empty()) return 0;
  const Tensor& first = parameters.front().parameter;
  std::vector<AdamWItem> items;
  std::vector<Tensor> grads;
  for (const AdamWParameter& p : parameters) {
    items.push_back(checked(p));
    grads.push_back(p.grad);
    check(p.parameter.dtype() == first.dtype() && p.parameter.device() == first.device(),
          "adamw: expected parameters of one dtype on one device, found ", first.dtype(), " on ", first.device(),
          " and ", p.parameter.dtype(), " on ", p.parameter.device());
  }
  const double norm = run_clipped({first.dtype(), items, step}, clip, grads, first.device());
  if (std::isfinite(norm)) std::ranges::for_each(parameters, note_change);
  return norm;
}

}  // namespace ratel
