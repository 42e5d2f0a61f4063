// AdamW on the CPU: one pass over parameter, gradient and moments; 16 B read and 12 B written an f32 element, and 2
// for a bf16 copy; bound by memory.

#include "ops/adamw.h"

#include <cmath>

#include "ops/cpu/parallel.h"

namespace ratel::cpu {

namespace {

template <class T>
void step(const AdamWItem& item, const AdamWStep& s) {
  const auto count = static_cast<double>(s.step);
  const double rate = s.rate * item.scale.rate;
  const T keep = static_cast<T>(1 - rate * (s.decay * item.scale.decay)), scale = static_cast<T>(s.grad_scale);
  const T beta1 = static_cast<T>(s.beta1), rest1 = static_cast<T>(1 - s.beta1);
  const T beta2 = static_cast<T>(s.beta2), rest2 = static_cast<T>(1 - s.beta2);
  const T size = static_cast<T>(rate / (1 - std::pow(s.beta1, count)));
  const T root = static_cast<T>(std::sqrt(1 - std::pow(s.beta2, count))), eps = static_cast<T>(s.eps);
  T *parameter = static_cast<T*>(item.parameter), *m = static_cast<T*>(item.m), *v = static_cast<T*>(item.v);
  const T* grad = static_cast<const T*>(item.grad);
  auto* copy = static_cast<bfloat16*>(item.copy);
  parallel_for(item.n, 1 << 14, [&](int64_t begin, int64_t end) {
#pragma GCC ivdep
    for (int64_t i = begin; i < end; ++i) {
      const T g = scale * grad[i];
      m[i] = beta1 * m[i] + rest1 * g;
      v[i] = beta2 * v[i] + rest2 * g * g;
      parameter[i] = keep * parameter[i] - size * m[i] / (std::sqrt(v[i]) / root + eps);
    }
    if (copy == nullptr) return;
    for (int64_t i = begin; i < end; ++i) copy[i] = convert_element<bfloat16>(parameter[i]);
  });
}

}  // namespace

void adamw(const AdamWArgs& args) {
  for (const AdamWItem& item : args.items)
    if (args.dtype == DType::f64)
      step<double>(item, args.step);
    else
      step<float>(item, args.step);
}

}  // namespace ratel::cpu
