// SwiGLU on the CPU: one pass over the elements, each input read once and each output written once. Bound by memory
// bandwidth as soon as the exponential is vectorised; this plain loop, for readers, is bound by the exponential.
#include <cmath>

#include "swiglu.h"

namespace custom::cpu {
namespace {

template <class A>
A sigmoid(A z) {
  return 1 / (1 + std::exp(-z));
}

template <class T>
void forward(const SwigluArgs& args) {
  using A = ratel::accumulate_t<T>;
  const auto *gate = static_cast<const T*>(args.gate), *up = static_cast<const T*>(args.up);
  auto* y = static_cast<T*>(args.y);
  for (int64_t i = 0; i < args.n; ++i) {
    const A g = ratel::convert_element<A>(gate[i]), u = ratel::convert_element<A>(up[i]);
    y[i] = ratel::convert_element<T>(g * sigmoid(g) * u);
  }
}

template <class T>
void backward(const SwigluBackwardArgs& args) {
  using A = ratel::accumulate_t<T>;
  const auto *gate = static_cast<const T*>(args.gate), *up = static_cast<const T*>(args.up);
  const auto* grad = static_cast<const T*>(args.grad);
  auto *grad_gate = static_cast<T*>(args.grad_gate), *grad_up = static_cast<T*>(args.grad_up);
  for (int64_t i = 0; i < args.n; ++i) {
    const A g = ratel::convert_element<A>(gate[i]), u = ratel::convert_element<A>(up[i]);
    const A dy = ratel::convert_element<A>(grad[i]), s = sigmoid(g);
    if (grad_gate != nullptr) grad_gate[i] = ratel::convert_element<T>(dy * u * s * (1 + g * (1 - s)));
    if (grad_up != nullptr) grad_up[i] = ratel::convert_element<T>(dy * g * s);
  }
}

}  // namespace

void swiglu_forward(const SwigluArgs& args) {
  ratel::visit_float(args.dtype, "swiglu", [&]<class T>() { forward<T>(args); });
}

void swiglu_backward(const SwigluBackwardArgs& args) {
  ratel::visit_float(args.dtype, "swiglu", [&]<class T>() { backward<T>(args); });
}

}  // namespace custom::cpu
