#include "ops/softmax.h"

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/reduce.h"
#include "ops/unary.h"

namespace ratel {
namespace {

void run_forward(const SoftmaxArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::softmax_forward(args, current_stream(device));
  cpu::softmax_forward(args);
}

void run_backward(const SoftmaxBackwardArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::softmax_backward(args, current_stream(device));
  cpu::softmax_backward(args);
}

void check_arguments(const char* name, const Tensor& x) {
  check(is_float(x.dtype()), name, ": expected a float dtype, found ", x.dtype());
  check(x.rank() >= 1 && x.dim(-1) >= 1, name, ": expected (..., N) with N >= 1, found shape ", x.shape());
}

Tensor softmax(SoftmaxKind kind, const char* name, const Tensor& x) {
  const OpScope scope(name);
  check_arguments(name, x);
  const Tensor in = contiguous(detach(x));
  const int64_t N = x.dim(-1), rows = x.numel() / N;
  Tensor y = empty_like(in);
  run_forward({kind, rows, N, x.dtype(), in.data(), y.data()}, x.device());
  return record(y, name, {x}, [kind, rows, N, y = Saved(y)](const Tensor& grad, const Needs&) -> Grads {
    const Tensor g = contiguous(grad);
    Tensor grad_x = empty_like(g);
    run_backward({kind, rows, N, g.dtype(), y->data(), g.data(), grad_x.data()}, g.device());
    return {grad_x};
  });
}

/// x less its maximum, which is a constant here: the result does not depend on it.
Tensor shifted(const Tensor& x) { return x - max(detach(x), {-1}, KeepDims::yes); }

}  // namespace

Tensor softmax(const Tensor& x) { return softmax(SoftmaxKind::probability, "softmax", x); }
Tensor log_softmax(const Tensor& x) { return softmax(SoftmaxKind::log, "log_softmax", x); }

Tensor softmax_reference(const Tensor& x) {
  check_arguments("softmax", x);
  const Tensor e = exp(shifted(x));
  return e / sum(e, {-1}, KeepDims::yes);
}

Tensor log_softmax_reference(const Tensor& x) {
  check_arguments("log_softmax", x);
  const Tensor z = shifted(x);
  return z - log(sum(exp(z), {-1}, KeepDims::yes));
}

}  // namespace ratel
