#include "ops/adamw.h"

#include "autograd/gradient.h"

namespace ratel {
namespace {

void run(const AdamWArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::adamw(args, current_stream(device));
  cpu::adamw(args);
}

}  // namespace

void adamw(const Tensor& parameter, const Tensor& grad, const Tensor& m, const Tensor& v, const AdamWStep& step) {
  const DType dtype = parameter.dtype();
  check(dtype == DType::f32 || dtype == DType::f64, "adamw: expected a parameter of f32 or f64, found ", dtype);
  for (const Tensor& other : {grad, m, v}) {
    check(other.shape() == parameter.shape() && other.dtype() == dtype, "adamw: expected gradient and moments of ",
          dtype, ' ', parameter.shape(), ", found ", other.dtype(), ' ', other.shape());
    check(other.device() == parameter.device(), "adamw: tensors on ", parameter.device(), " and ", other.device());
    check(other.is_contiguous(), "adamw: gradient and moments must be contiguous");
  }
  check(parameter.is_contiguous() && is_leaf(parameter), "adamw: the parameter must be a contiguous leaf");
  check(step.step >= 1, "adamw: steps count from 1, found ", step.step);
  run({parameter.numel(), dtype, parameter.data(), m.data(), v.data(), grad.data(), step}, parameter.device());
  for (const Tensor& changed : {parameter, m, v}) changed.storage()->bump_version();
}

}  // namespace ratel
