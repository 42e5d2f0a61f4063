// Elementwise arithmetic on a GPU: operands that lie alike 16 bytes a thread, broadcast or strided ones an element a
// thread. Bound by memory.

#include "ops/arithmetic.h"

#include "cuda/elementwise.h"
#include "cuda/strided.h"

namespace ratel::cuda {
namespace {

struct Add {
  template <class A>
  __device__ A operator()(A a, A b) const {
    return a + b;
  }
};
struct Sub {
  template <class A>
  __device__ A operator()(A a, A b) const {
    return a - b;
  }
};
struct Mul {
  template <class A>
  __device__ A operator()(A a, A b) const {
    return a * b;
  }
};
struct Div {
  template <class A>
  __device__ A operator()(A a, A b) const {
    return a / b;
  }
};
struct Max {  // b's NaN by the comparison, which is false
  template <class A>
  __device__ A operator()(A a, A b) const {
    return a >= b || a != a ? a : b;
  }
};
struct Min {
  template <class A>
  __device__ A operator()(A a, A b) const {
    return a <= b || a != a ? a : b;
  }
};
/// F with a number for b.
template <class F, class A>
struct WithNumber {
  A value;
  __device__ A operator()(A x) const { return F()(x, value); }
};

template <class T, class F, class Index>
__global__ __launch_bounds__(kElementThreads) void combine_strided(int64_t n, F f, Strided<2, Index> where, const T* a,
                                                                   const T* b, T* out) {
  using A = accumulate_t<T>;
  for (int64_t i = global_thread(); i < n; i += global_threads()) {
    int64_t at[2];
    where.positions(i, at);
    out[i] = convert_element<T>(f(convert_element<A>(a[at[0]]), convert_element<A>(b[at[1]])));
  }
}

template <class T, class F>
void combine(const BinaryArgs& args, Stream stream, F f) {
  const T* const a = static_cast<const T*>(args.a) + args.a_layout.offset;
  const T* const b = static_cast<const T*>(args.b) + args.b_layout.offset;
  T* const out = static_cast<T*>(args.out);
  const int64_t n = args.a_layout.shape.numel();
  if (args.a_layout.is_contiguous() && args.b_layout.is_contiguous()) return map("arithmetic", n, stream, f, out, a, b);
  with_strided<2>({&args.a_layout, &args.b_layout}, [&]<class Index>(const Strided<2, Index>& where) {
    launch({"arithmetic", blocks_for(n, kElementThreads), kElementThreads, 0, stream}, combine_strided<T, F, Index>, n,
           f, where, a, b, out);
  });
}

}  // namespace

void binary(const BinaryArgs& args, Stream stream) {
  visit_float(args.dtype, "arithmetic", [&]<class T>() {
    switch (args.op) {
      case BinaryOp::add: return combine<T>(args, stream, Add());
      case BinaryOp::sub: return combine<T>(args, stream, Sub());
      case BinaryOp::mul: return combine<T>(args, stream, Mul());
      case BinaryOp::div: return combine<T>(args, stream, Div());
      case BinaryOp::max: return combine<T>(args, stream, Max());
      case BinaryOp::min: return combine<T>(args, stream, Min());
    }
  });
}

void with_number(const NumberArgs& args, Stream stream) {
  visit_float(args.dtype, "arithmetic", [&]<class T>() {
    using A = accumulate_t<T>;
    const auto run = [&]<class F>(F) {
      map("arithmetic", args.n, stream, WithNumber<F, A>{static_cast<A>(args.value)}, static_cast<T*>(args.out),
          static_cast<const T*>(args.x));
    };
    switch (args.op) {
      case NumberOp::add: return run(Add());
      case NumberOp::mul: return run(Mul());
      case NumberOp::div: return run(Div());
    }
  });
}

void add_into(const AddIntoArgs& args, Stream stream) {
  visit_float(args.into_dtype, "add_into", [&]<class T>() {
    visit_float(args.x_dtype, "add_into", [&]<class X>() {
      T* const into = static_cast<T*>(args.into);
      map("add_into", args.n, stream, Add(), into, static_cast<const T*>(into), static_cast<const X*>(args.x));
    });
  });
}

}  // namespace ratel::cuda
