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

void run_clipped(AdamWArgs args, const AdamWControlArgs& control, const std::vector<Tensor>& grads, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::clipped_adamw(args, control, current_stream(device));
  const double norm = global_norm(grads);
  const bool finite = std::isfinite(norm) && std::all_of(control.watched, control.watched + control.watched_count,
                                                         [](double watched) { return std::isfinite(watched); });
  control.outcome[0] = norm;
  control.outcome[1] = finite ? 1 : 0;
  if (!finite) return;
  args.step.step = ++*control.steps;
  args.step.rate = *control.rate;
  if (control.clip > 0) args.step.grad_scale *= std::min(1.0, control.clip / (norm + kClipEps));
  cpu::adamw(args);
}

AdamWControlArgs checked(const AdamWControl& control, double clip) {
  const auto& [rate, watched, steps, outcome] = control;
  check(rate.numel() == 1 && rate.dtype() == DType::f64 && steps.numel() == 1 && steps.dtype() == DType::i64 &&
            outcome.numel() == 2 && outcome.dtype() == DType::f64 && outcome.is_contiguous() &&
            rate.device() == outcome.device() && steps.device() == outcome.device(),
        "adamw: expected a rate as one f64, steps as one i64 and outcome as two f64 on one device");
  if (watched.defined())
    check(watched.dtype() == DType::f64 && watched.is_contiguous() && watched.device() == outcome.device(),
          "adamw: expected what is watched as contiguous f64 on ", outcome.device());
  return {static_cast<const double*>(rate.data()),
          watched.defined() ? watched.numel() : 0,
          watched.defined() ? static_cast<const double*>(watched.data()) : nullptr,
          static_cast<int64_t*>(steps.data()),
          static_cast<double*>(outcome.data()),
          clip};
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
  check_scale(p.scale, "adamw");
  return {parameter.numel(),
          parameter.data(),
          p.m.data(),
          p.v.data(),
          p.grad.data(),
          p.copy.defined() ? p.copy.data() : nullptr,
          p.scale};
}

void check_step(const AdamWStep& step) { check(step.step >= 1, "adamw: steps count from 1, found ", step.step); }

void note_change(const AdamWParameter& p) {
  for (const Tensor& changed : {p.parameter, p.m, p.v, p.copy})
    if (changed.defined()) changed.storage()->bump_version();
}

}  // namespace

void check_scale(const AdamWScale& scale, std::string_view whose) {
  for (const double factor : {scale.rate, scale.decay})
    check(std::isfinite(factor) && factor >= 0, whose, ": expected finite scales of 0 or more, found ", factor);
}

void adamw(const Tensor& parameter, const Tensor& grad, const Tensor& m, const Tensor& v, const AdamWStep& step) {
  const OpScope scope("adamw");
  const AdamWParameter one{parameter, grad, m, v, {}, {}};
  const AdamWItem item = checked(one);
  check_step(step);
  run({parameter.dtype(), {&item, 1}, step}, parameter.device());
  note_change(one);
}

void clipped_adamw(const std::vector<AdamWParameter>& parameters, const AdamWStep& step, double clip,
                   const AdamWControl& control) {
  const OpScope scope("adamw");
  const AdamWControlArgs decides = checked(control, clip);
  const DType dtype = parameters.empty() ? DType::f32 : parameters.front().parameter.dtype();
  const Device device = control.outcome.device();
  std::vector<AdamWItem> items;
  std::vector<Tensor> grads;
  for (const AdamWParameter& p : parameters) {
    items.push_back(checked(p));
    grads.push_back(p.grad);
    check(p.parameter.dtype() == dtype && p.parameter.device() == device, "adamw: expected parameters of ", dtype,
          " on ", device, ", as the first one and the outcome are, found ", p.parameter.dtype(), " on ",
          p.parameter.device());
  }
  run_clipped({dtype, items, step}, decides, grads, device);
  // Whether anything changed is known on the device alone.
  std::ranges::for_each(parameters, note_change);
  for (const Tensor& changed : {control.steps, control.outcome}) changed.storage()->bump_version();
}

}  // namespace ratel
