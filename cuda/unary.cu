// Elementwise functions on a GPU, 16 bytes a thread. Bytes an element in bf16: forward 4, backward 6; bound by memory,
// in f64 by the arithmetic.

#include "ops/unary.h"

#include <cmath>
#include <numbers>

#include "cuda/elementwise.h"
#include "cuda/gelu.h"
#include "cuda/sigmoid.h"

namespace ratel::cuda {
namespace {

struct Exp {
  template <class A>
  __device__ A operator()(A x) const {
    return std::exp(x);
  }
};
struct Log {
  template <class A>
  __device__ A operator()(A x) const {
    return std::log(x);
  }
};
struct Sigmoid {
  template <class A>
  __device__ A operator()(A x) const {
    return sigmoid(x);
  }
};
struct Relu {
  template <class A>
  __device__ A operator()(A x) const {
    return x < 0 ? A{0} : x;  // false for NaN, which is kept
  }
};
struct Silu {
  template <class A>
  __device__ A operator()(A x) const {
    return x * sigmoid(x);
  }
};
struct Gelu {
  template <class A>
  __device__ A operator()(A x) const {
    return gelu(x);
  }
};

/// Gradients from what was kept (the output for exp, the input for the others) and the output's gradient.
struct ExpGradient {
  template <class A>
  __device__ A operator()(A y, A grad) const {
    return grad * y;
  }
};
struct LogGradient {
  template <class A>
  __device__ A operator()(A x, A grad) const {
    return grad / x;
  }
};
struct SigmoidGradient {
  template <class A>
  __device__ A operator()(A x, A grad) const {
    return grad * (sigmoid(x) * sigmoid(-x));
  }
};
struct ReluGradient {
  template <class A>
  __device__ A operator()(A x, A grad) const {
    return x > 0 ? grad : A{0};
  }
};
struct SiluGradient {
  template <class A>
  __device__ A operator()(A x, A grad) const {
    return grad * (sigmoid(x) * (1 + x * sigmoid(-x)));
  }
};
struct GeluGradient {
  template <class A>
  __device__ A operator()(A x, A grad) const {
    // The exponential makes a relative error of what x^2 was rounded by: it is put back.
    const A square = x * x, lost = std::fma(x, x, -square);
    const A e = std::exp(square / -2), bell = std::fma(e, lost / -2, e);
    const A density = static_cast<A>(std::numbers::inv_sqrtpi / std::numbers::sqrt2) * bell;
    // The small terms first, so that the sum is rounded once near 1/2 or 1.
    const A scaled = x * static_cast<A>(std::numbers::sqrt2 / 2);
    if (std::abs(x) < A{1.5}) return grad * (A{0.5} + std::fma(x, density, std::erf(scaled) / 2));
    const A tail = std::erfc(std::abs(scaled)) / 2;
    return grad * (x < 0 ? std::fma(x, density, tail) : 1 + std::fma(x, density, -tail));
  }
};

}  // namespace

void unary_forward(const UnaryArgs& args, Stream stream) {
  visit_float(args.dtype, "unary", [&]<class T>() {
    const auto run = [&](auto f) {
      map("unary", args.n, stream, f, static_cast<T*>(args.out), static_cast<const T*>(args.x));
    };
    switch (args.op) {
      case UnaryOp::exp: return run(Exp());
      case UnaryOp::log: return run(Log());
      case UnaryOp::sigmoid: return run(Sigmoid());
      case UnaryOp::relu: return run(Relu());
      case UnaryOp::silu: return run(Silu());
      case UnaryOp::gelu: return run(Gelu());
    }
  });
}

void unary_backward(const UnaryBackwardArgs& args, Stream stream) {
  visit_float(args.dtype, "unary", [&]<class T>() {
    const auto run = [&](auto f) {
      map("unary_backward", args.n, stream, f, static_cast<T*>(args.grad_x), static_cast<const T*>(args.kept),
          static_cast<const T*>(args.grad));
    };
    switch (args.op) {
      case UnaryOp::exp: return run(ExpGradient());
      case UnaryOp::log: return run(LogGradient());
      case UnaryOp::sigmoid: return run(SigmoidGradient());
      case UnaryOp::relu: return run(ReluGradient());
      case UnaryOp::silu: return run(SiluGradient());
      case UnaryOp::gelu: return run(GeluGradient());
    }
  });
}

}  // namespace ratel::cuda
