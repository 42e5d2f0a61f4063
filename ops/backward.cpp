#include "ops/backward.h"

#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel {

void backward(const Tensor& loss, const Tensor& grad, Tape tape) {
  const OpScope scope("backward");
  static constexpr GradientOps kOps{[](const Tensor& a, const Tensor& b) { return add(a, b); }, add_into,
                                    [](const Tensor& x, DType dtype) { return contiguous(to(x, dtype)); },
                                    [](const Tensor& x) { return clone(x); }};
  check(grad.defined() || loss.numel() == 1, "backward: a tensor of shape ", loss.shape(),
        " needs an explicit gradient; only one of one element starts from 1");
  const Tensor seed = grad.defined() ? grad : ones_like(loss);
  run_backward({&loss, 1}, {&seed, 1}, tape, kOps);
}

}  // namespace ratel
