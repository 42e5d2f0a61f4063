#include "ops/gated_recurrence.h"

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"

namespace ratel {
namespace {

constexpr const char* kName = "gated_recurrence";

void check_arguments(const Tensor& gate, const Tensor& x, const Tensor& initial) {
  check(x.rank() == 3 && gate.shape() == x.shape(), kName, ": expected gate and x of one shape (B, T, C), found ",
        gate.shape(), " and ", x.shape());
  check(is_float(x.dtype()) && gate.dtype() == x.dtype(), kName, ": expected gate and x of one float dtype, found ",
        gate.dtype(), " and ", x.dtype());
  check(gate.device() == x.device(), kName, ": gate on ", gate.device(), ", x on ", x.device());
  check(x.dim(1) >= 1, kName, ": expected at least one token, found shape ", x.shape());
  check(gate.layout().has_contiguous_rows() && x.layout().has_contiguous_rows(), kName,
        ": the last axes of gate and x must be contiguous");
  if (!initial.defined()) return;
  check(initial.shape() == Shape{x.dim(0), x.dim(2)} && initial.dtype() == accumulate_dtype(x.dtype()), kName,
        ": expected initial of shape ", Shape{x.dim(0), x.dim(2)}, ' ', accumulate_dtype(x.dtype()), ", found ",
        initial.shape(), ' ', initial.dtype());
  check(initial.device() == x.device(), kName, ": x on ", x.device(), ", initial on ", initial.device());
}

void run_forward(const GatedRecurrenceArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::gated_recurrence_forward(args, current_stream(device));
  cpu::gated_recurrence_forward(args);
}

void run_backward(const GatedRecurrenceBackwardArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::gated_recurrence_backward(args, current_stream(device));
  cpu::gated_recurrence_backward(args);
}

/// What forward leaves for backward beside the inputs; undefined where no backward follows, and on the CPU.
Tensor carries_for(const Tensor& gate, const Tensor& x, const Tensor& initial) {
  if constexpr (kHasCuda) {
    const bool wanted =
        grad_enabled() && (needs_grad(gate) || needs_grad(x) || (initial.defined() && needs_grad(initial)));
    if (wanted && x.device().is_cuda())
      return empty({cuda::gated_recurrence_carries(x.dim(0), x.dim(1), x.dim(2), x.dtype())},
                   accumulate_dtype(x.dtype()), x.device());
  }
  return {};
}

void* data_or_null(const Tensor& x) { return x.defined() ? x.data() : nullptr; }

}  // namespace

RecurrenceResult gated_recurrence(const Tensor& gate, const Tensor& x, const Tensor& initial_state) {
  const OpScope scope(kName);
  check_arguments(gate, x, initial_state);
  // A learned state is stretched over the batch: the copy's gradient, on the tape, is summed where it comes from.
  const Tensor initial = initial_state.defined() ? contiguous(initial_state) : Tensor();
  const int64_t B = x.dim(0), T = x.dim(1), C = x.dim(2);
  Tensor outputs[] = {empty(x.shape(), x.dtype(), x.device()), empty({B, C}, accumulate_dtype(x.dtype()), x.device())};
  const Tensor carries = carries_for(gate, x, initial);
  run_forward({B, T, C, x.dtype(), gate.data(), x.data(), gate.stride(0), gate.stride(1), x.stride(0), x.stride(1),
               data_or_null(initial), outputs[0].data(), outputs[1].data(), data_or_null(carries)},
              x.device());
  // dh[t] = grad[t] + g[t+1] dh[t+1];  dx = (1-g) dh;  dg[t] = dh[t] (h[t-1] - x[t]);  d_initial = g[0] dh[0]
  record(outputs, kName, {gate, x, initial},
         [gate = Saved(gate), x = Saved(x), initial = Saved(initial), carries, B, T, C](std::span<const Tensor> grads,
                                                                                        const Needs& needs) -> Grads {
           const Tensor grad_h = grads[0].defined() ? contiguous(grads[0]) : Tensor();
           const Tensor grad_last = grads[1].defined() ? contiguous(grads[1]) : Tensor();
           const Tensor d_gate = needs[0] ? empty_like(*gate) : Tensor();
           const Tensor d_x = needs[1] ? empty_like(*x) : Tensor();
           const Tensor d_initial = needs[2] ? empty_like(*initial) : Tensor();
           run_backward({B, T, C, x->dtype(), gate->data(), x->data(), gate->stride(0), gate->stride(1), x->stride(0),
                         x->stride(1), data_or_null(*initial), data_or_null(grad_h), data_or_null(grad_last),
                         data_or_null(d_gate), data_or_null(d_x), data_or_null(d_initial), data_or_null(carries)},
                        x->device());
           return {d_gate, d_x, d_initial};
         });
  return {outputs[0], outputs[1]};
}

RecurrenceResult gated_recurrence_reference(const Tensor& gate, const Tensor& x, const Tensor& initial) {
  check_arguments(gate, x, initial);
  const DType state = accumulate_dtype(x.dtype());
  const auto token = [](const Tensor& all, int64_t t) {
    return reshape(slice(all, 1, t, t + 1), {all.dim(0), all.dim(2)});
  };
  Tensor h = initial.defined() ? initial : zeros({x.dim(0), x.dim(2)}, state, x.device());
  std::vector<Tensor> states;
  for (int64_t t = 0; t < x.dim(1); ++t) {
    const Tensor g = to(token(gate, t), state);
    h = g * h + (1 - g) * to(token(x, t), state);
    states.push_back(to(h, x.dtype()));
  }
  return {stack(states, 1), h};
}

}  // namespace ratel
