// Cross-entropy on a GPU, from logits, never storing probabilities: a block a row, its threads at 16 bytes each. With
// m = max x, s = sum e^(x - m):
//   loss = log s - (x[label] - m);   dx = (scale / s) e^(x - m), less scale at the label.
// Bytes an element in bf16: forward 2, backward 4; bound by memory. Backward may write the gradient in place of the
// logits: a thread writes only what it has read. Measured on an H100 at 8192 x 32000: backward 380 us of 350 at the
// rate of a copy; forward, with the mean over rows and the labels' check, 278 of 175.

#include "ops/cross_entropy.h"

#include "cuda/softmax_row.h"

namespace ratel::cuda {
namespace {

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void forward(CrossEntropyArgs args) {
  using A = accumulate_t<T>;
  SharedArena arena;
  const int64_t row = block_index().x, label = args.labels[row];
  const T* x = static_cast<const T*>(args.logits) + row * args.V;
  A *loss = static_cast<A*>(args.loss) + row, *kept = static_cast<A*>(args.kept) + 2 * row;
  const bool first = thread_index().x == 0;
  if (label == kIgnoreIndex) {
    if (first) *loss = kept[0] = kept[1] = 0;
    return;
  }
  const auto [m, s] = row_exponentials<N>(args.V, x, arena);
  if (!first) return;
  *loss = std::log(s) - (convert_element<A>(x[label]) - m);
  kept[0] = m;
  kept[1] = s;
}

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void backward(CrossEntropyBackwardArgs args) {
  using A = accumulate_t<T>;
  const int64_t row = block_index().x, label = args.labels[row];
  const T* x = static_cast<const T*>(args.logits) + row * args.V;
  const A* kept = static_cast<const A*>(args.kept) + 2 * row;
  T* grad = static_cast<T*>(args.grad_logits) + row * args.V;
  if (label == kIgnoreIndex) return for_row<N>(args.V, [&](int64_t i) { store_vec(grad + i, Vec<T, N>{}); });
  const double scale = static_cast<double>(*static_cast<const A*>(args.grad)) * *args.share;
  const A m = kept[0], factor = static_cast<A>(scale / static_cast<double>(kept[1]));
  const auto share_of = [&](T value) { return factor * std::exp(convert_element<A>(value) - m); };
  // The label's, which alone is more than its share, is the thread's that goes over it, before and after it has.
  const bool has_label = label / N % block_size().x == thread_index().x;
  const T of_label = has_label ? x[label] : T{};
  for_row<N>(args.V, [&](int64_t i) {
    const auto values = load_vec<N>(x + i);
    Vec<T, N> out;
    for (int k = 0; k < N; ++k) out.at[k] = round_to<T>(share_of(values.at[k]));
    store_vec(grad + i, out);
  });
  if (has_label) grad[label] = round_to<T>(static_cast<A>(static_cast<double>(share_of(of_label)) - scale));
}

}  // namespace

void cross_entropy_forward(const CrossEntropyArgs& args, Stream stream) {
  visit_float(args.dtype, "cross_entropy", [&]<class T>() {
    const auto run = [&]<int N>() {
      launch({"cross_entropy_forward", args.rows, row_threads(args.V, N), row_scratch_bytes<accumulate_t<T>>(), stream},
             forward<T, N>, args);
    };
    if (is_vectorisable<T>(args.V, args.logits))
      run.template operator()<kPerVec<T>>();
    else
      run.template operator()<1>();
  });
}

void cross_entropy_backward(const CrossEntropyBackwardArgs& args, Stream stream) {
  visit_float(args.dtype, "cross_entropy", [&]<class T>() {
    const auto run = [&]<int N>() {
      launch({"cross_entropy_backward", args.rows, row_threads(args.V, N), 0, stream}, backward<T, N>, args);
    };
    if (is_vectorisable<T>(args.V, args.logits, args.grad_logits))
      run.template operator()<kPerVec<T>>();
    else
      run.template operator()<1>();
  });
}

}  // namespace ratel::cuda
