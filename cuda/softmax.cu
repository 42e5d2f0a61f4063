// Softmax on a GPU: a block a row, its threads at 16 bytes each; two readings of the row forward and two or three
// backward, all but the first from the caches where they hold the rows under way. Bytes an element that must move:
// forward 8 (f32) or 4 (bf16), backward 12 or 6; bound by memory while a row fits the second-level cache.
//
// y = e^(x - m) / s:              dx = y (dy - mean), mean = sum dy y / sum y.
// y = (x - m) - log s:            dx = dy - e^y sum dy.

#include "ops/softmax.h"

#include "cuda/softmax_row.h"

namespace ratel::cuda {
namespace {

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void forward(SoftmaxArgs args) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const T* x = static_cast<const T*>(args.x) + block_index().x * args.N;
  T* y = static_cast<T*>(args.y) + block_index().x * args.N;
  const auto [m, s] = row_exponentials<N>(args.N, x, arena);
  const A log_s = std::log(s), largest = m, sum = s;
  for_row<N>(args.N, [&](int64_t i) {
    const auto values = load_vec<N>(x + i);
    Vec<T, N> out;
    for (int k = 0; k < N; ++k) {
      const A z = convert_element<A>(values.at[k]) - largest;
      out.at[k] = round_to<T>(args.kind == SoftmaxKind::probability ? std::exp(z) / sum : z - log_s);
    }
    store_vec(y + i, out);
  });
}

/// The sum over a row of f(y, dy), across vectors in f64: what the row is less its mean depends on every digit.
template <int N, class T, class F, class A = accumulate_t<T>>
__device__ A row_sum(int64_t n, const T* y, const T* grad, Shared<double> scratch, F&& f) {
  double total = 0;
  for_row<N>(n, [&](int64_t i) {
    const auto values = load_vec<N>(y + i), dy = load_vec<N>(grad + i);
    A few = 0;
    for (int k = 0; k < N; ++k) few += f(convert_element<A>(values.at[k]), convert_element<A>(dy.at[k]));
    total += static_cast<double>(few);
  });
  return static_cast<A>(block_sum(total, scratch));
}

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void backward(SoftmaxBackwardArgs args) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const Shared<double> totals = arena.take<double>(kRowWarps), means = arena.take<double>(kRowWarps),
                       rests = arena.take<double>(kRowWarps);
  const T* y = static_cast<const T*>(args.y) + block_index().x * args.N;
  const T* grad = static_cast<const T*>(args.grad) + block_index().x * args.N;
  T* grad_x = static_cast<T*>(args.grad_x) + block_index().x * args.N;
  const auto write = [&](auto&& slope) {
    for_row<N>(args.N, [&](int64_t i) {
      const auto values = load_vec<N>(y + i), dy = load_vec<N>(grad + i);
      Vec<T, N> out;
      for (int k = 0; k < N; ++k)
        out.at[k] = round_to<T>(slope(convert_element<A>(values.at[k]), convert_element<A>(dy.at[k])));
      store_vec(grad_x + i, out);
    });
  };
  if (args.kind == SoftmaxKind::log) {
    const A total = row_sum<N>(args.N, y, grad, totals, [](A, A dy) { return dy; });
    return write([total](A y, A dy) { return dy - std::exp(y) * total; });
  }
  // Over the sum of y, which is 1 but for rounding, and in two steps: see ops/cpu/softmax.cpp.
  const A total = row_sum<N>(args.N, y, grad, totals, [](A y, A) { return y; });
  const A mean = row_sum<N>(args.N, y, grad, means, [](A y, A dy) { return dy * y; }) / total;
  const A rest = row_sum<N>(args.N, y, grad, rests, [mean](A y, A dy) { return (dy - mean) * y; }) / total;
  write([mean, rest](A y, A dy) { return y * ((dy - mean) - rest); });
}

}  // namespace

void softmax_forward(const SoftmaxArgs& args, Stream stream) {
  visit_float(args.dtype, "softmax", [&]<class T>() {
    const auto run = [&]<int N>() {
      launch({"softmax_forward", args.rows, row_threads(args.N, N), row_scratch_bytes<accumulate_t<T>>(), stream},
             forward<T, N>, args);
    };
    if (is_vectorisable<T>(args.N, args.x, args.y))
      run.template operator()<kPerVec<T>>();
    else
      run.template operator()<1>();
  });
}

void softmax_backward(const SoftmaxBackwardArgs& args, Stream stream) {
  visit_float(args.dtype, "softmax", [&]<class T>() {
    const auto run = [&]<int N>() {
      launch({"softmax_backward", args.rows, row_threads(args.N, N), 3 * shared_size<double>(kRowWarps), stream},
             backward<T, N>, args);
    };
    if (is_vectorisable<T>(args.N, args.y, args.grad, args.grad_x))
      run.template operator()<kPerVec<T>>();
    else
      run.template operator()<1>();
  });
}

}  // namespace ratel::cuda
