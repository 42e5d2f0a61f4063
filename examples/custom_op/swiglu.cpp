#include "swiglu.h"

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/unary.h"

namespace custom {
namespace {

using ratel::check;
using ratel::Tensor;

void check_arguments(const Tensor& gate, const Tensor& up) {
  check(gate.shape() == up.shape(), "swiglu: expected gate and up of one shape, found ", gate.shape(), " and ",
        up.shape());
  check(is_float(gate.dtype()) && gate.dtype() == up.dtype(), "swiglu: expected one float dtype, found ", gate.dtype(),
        " and ", up.dtype());
  check(gate.device() == up.device(), "swiglu: gate on ", gate.device(), ", up on ", up.device());
}

}  // namespace

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  const ratel::OpScope scope("swiglu");
  check_arguments(gate, up);
  ratel::check_cpu(gate.device(), "swiglu");  // whose memory the kernel cannot read
  const Tensor g = contiguous(detach(gate)), u = contiguous(detach(up));
  Tensor y = empty_like(g);
  cpu::swiglu_forward({g.numel(), g.dtype(), g.data(), u.data(), y.data()});
  // with s = sigmoid(gate):  d_gate = grad up s (1 + gate (1 - s));  d_up = grad gate s
  return record(
      y, "swiglu", {gate, up},
      [g = ratel::Saved(g), u = ratel::Saved(u)](const Tensor& grad, const ratel::Needs& needs) -> ratel::Grads {
        const Tensor dy = contiguous(grad);
        const Tensor d_gate = needs[0] ? empty_like(dy) : Tensor();
        const Tensor d_up = needs[1] ? empty_like(dy) : Tensor();
        cpu::swiglu_backward({dy.numel(), dy.dtype(), g->data(), u->data(), dy.data(),
                              needs[0] ? d_gate.data() : nullptr, needs[1] ? d_up.data() : nullptr});
        return {d_gate, d_up};
      });
}

Tensor swiglu_reference(const Tensor& gate, const Tensor& up) {
  check_arguments(gate, up);
  return silu(gate) * up;
}

}  // namespace custom
