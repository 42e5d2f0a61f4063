#include "ops/unary.h"

#include <cmath>
#include <numbers>

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel {
namespace {

void run_forward(const UnaryArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::unary_forward(args, current_stream(device));
  cpu::unary_forward(args);
}

void run_backward(const UnaryBackwardArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::unary_backward(args, current_stream(device));
  cpu::unary_backward(args);
}

bool keeps_output(UnaryOp op) { return op == UnaryOp::exp || op == UnaryOp::sqrt; }

Tensor unary(UnaryOp op, const char* name, const Tensor& x) {
  const OpScope scope(name);
  check(is_float(x.dtype()), name, ": expected a float dtype, found ", x.dtype());
  const Tensor in = contiguous(detach(x));
  Tensor out = empty_like(in);
  run_forward({op, in.numel(), in.dtype(), in.data(), out.data()}, in.device());
  return record(out, name, {x},
                [op, kept = Saved(keeps_output(op) ? out : in)](const Tensor& grad, const Needs&) -> Grads {
                  const Tensor g = contiguous(grad);
                  Tensor grad_x = empty_like(g);
                  run_backward({op, g.numel(), g.dtype(), kept->data(), g.data(), grad_x.data()}, g.device());
                  return {grad_x};
                });
}

/// f of every element, in the type the dtype is computed in: `f` is a scalar function of the C library.
template <class F>
Tensor each(const Tensor& x, F f) {
  const Tensor in = contiguous(detach(x));
  Tensor out = empty_like(in);
  visit_float(x.dtype(), "reference", [&]<class T>() {
    const T* from = in.data<T>();
    T* into = out.data<T>();
    for (int64_t i = 0; i < in.numel(); ++i) into[i] = convert_element<T>(f(convert_element<accumulate_t<T>>(from[i])));
  });
  return out;
}

Tensor plain_exp(const Tensor& x) {
  const Tensor out = each(x, [](auto v) { return std::exp(v); });
  return record(out, "exp_reference", {x},
                [kept = Saved(out)](const Tensor& grad, const Needs&) -> Grads { return {grad * *kept}; });
}

Tensor plain_erf(const Tensor& x) {
  return record(each(x, [](auto v) { return std::erf(v); }), "erf_reference", {x},
                [x = Saved(x)](const Tensor& grad, const Needs&) -> Grads {
                  return {grad * (plain_exp(-(*x * *x)) * (2 * std::numbers::inv_sqrtpi))};
                });
}

}  // namespace

Tensor exp(const Tensor& x) { return unary(UnaryOp::exp, "exp", x); }
Tensor log(const Tensor& x) { return unary(UnaryOp::log, "log", x); }
Tensor sqrt(const Tensor& x) { return unary(UnaryOp::sqrt, "sqrt", x); }
Tensor tanh(const Tensor& x) { return unary(UnaryOp::tanh, "tanh", x); }
Tensor sigmoid(const Tensor& x) { return unary(UnaryOp::sigmoid, "sigmoid", x); }
Tensor abs(const Tensor& x) { return unary(UnaryOp::abs, "abs", x); }
Tensor relu(const Tensor& x) { return unary(UnaryOp::relu, "relu", x); }
Tensor silu(const Tensor& x) { return unary(UnaryOp::silu, "silu", x); }
Tensor gelu(const Tensor& x) { return unary(UnaryOp::gelu, "gelu", x); }

Tensor sigmoid_reference(const Tensor& x) { return ones_like(x) / (1 + plain_exp(-x)); }
Tensor silu_reference(const Tensor& x) { return x * sigmoid_reference(x); }
Tensor gelu_reference(const Tensor& x) { return x * (1 + plain_erf(x * (std::numbers::sqrt2 / 2))) * 0.5; }

}  // namespace ratel
