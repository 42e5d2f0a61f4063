// AdamW on a GPU: one pass over parameter, gradient and moments, a thread an element; 16 B read and 12 B written an f32
// element, bound by memory.

#include "ops/adamw.h"

#include <cmath>

#include "cuda/device.h"

namespace ratel::cuda {
namespace {

constexpr int kThreads = 256;

/// The step's numbers, computed once on the host.
template <class T>
struct Factors {
  T keep, scale, beta1, rest1, beta2, rest2, size, root, eps;
};

template <class T>
__global__ __launch_bounds__(kThreads) void step(int64_t n, Factors<T> f, const T* grad, T* m, T* v, T* parameter) {
  for (int64_t i = global_thread(); i < n; i += global_threads()) {
    const T g = f.scale * grad[i];
    const T first = f.beta1 * m[i] + f.rest1 * g, second = f.beta2 * v[i] + f.rest2 * g * g;
    m[i] = first;
    v[i] = second;
    parameter[i] = f.keep * parameter[i] - f.size * first / (std::sqrt(second) / f.root + f.eps);
  }
}

template <class T>
void run(const AdamWArgs& args, Stream stream) {
  const AdamWStep& s = args.step;
  const auto count = static_cast<double>(s.step);
  const auto as = [](double value) { return static_cast<T>(value); };
  const Factors<T> factors{as(1 - s.rate * s.decay),
                           as(s.grad_scale),
                           as(s.beta1),
                           as(1 - s.beta1),
                           as(s.beta2),
                           as(1 - s.beta2),
                           as(s.rate / (1 - std::pow(s.beta1, count))),
                           as(std::sqrt(1 - std::pow(s.beta2, count))),
                           as(s.eps)};
  launch({"adamw", blocks_for(args.n, kThreads), kThreads, 0, stream}, step<T>, args.n, factors,
         static_cast<const T*>(args.grad), static_cast<T*>(args.m), static_cast<T*>(args.v),
         static_cast<T*>(args.parameter));
}

}  // namespace

void adamw(const AdamWArgs& args, Stream stream) {
  if (args.dtype == DType::f64)
    run<double>(args, stream);
  else
    run<float>(args, stream);
}

}  // namespace ratel::cuda
