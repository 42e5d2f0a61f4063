// Cross-entropy on the CPU, from logits, never storing probabilities: one row after the other in the first-level cache,
// pieces of rows in parallel. With m = max x, s = sum e^(x - m):
//   loss = log s - (x[label] - m);   dx = (scale / s) e^(x - m), less scale at the label.
// Bytes an element in f32: forward 4, backward 8. One exponential an element each way (20 operations) bounds both while
// the logits are in the second-level cache, memory beyond.
// Exponentials go to aligned working memory: rows of an odd length start between registers, and Eigen would take the
// elements up to the next boundary one by one.

#include "ops/cross_entropy.h"

#include <cmath>

#include "ops/cpu/math.h"
#include "ops/cpu/row_buffer.h"

namespace ratel::cpu {
namespace {

/// The sum in f64: the largest term is 1, and every small one added to it in f32 would round once more. Sums side by
/// side fill registers.
template <class A>
A sum_of(const A* e, int64_t n) {
  constexpr int64_t kSums = 32;
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums)
    for (int64_t j = 0; j < kSums; ++j) sums[j] += static_cast<double>(e[i + j]);
  for (int64_t j = 0; i + j < n; ++j) sums[j] += static_cast<double>(e[i + j]);
  for (int64_t width = kSums / 2; width > 0; width /= 2)
    for (int64_t j = 0; j < width; ++j) sums[j] += sums[j + width];
  return static_cast<A>(sums[0]);
}

template <class T>
void forward(const CrossEntropyArgs& args) {
  using A = accumulate_t<T>;
  const int64_t V = args.V;
  const T* logits = static_cast<const T*>(args.logits);
  A *loss = static_cast<A*>(args.loss), *kept = static_cast<A*>(args.kept);
  parallel_for(args.rows, rows_per_piece(V), [&](int64_t begin, int64_t end) {
    const RowBuffer<T> in(V);
    const Scratch<A> working(V);
    Array<A> e(working.get(), V);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t label = args.labels[row];
      if (label == kIgnoreIndex) {
        loss[row] = kept[2 * row] = kept[2 * row + 1] = 0;
        continue;
      }
      const auto x = in.read(logits + row * V);
      const A m = x.maxCoeff();
      e = exponential(x - m);
      const A s = sum_of(working.get(), V);
      loss[row] = std::log(s) - (x[label] - m);
      kept[2 * row] = m;
      kept[2 * row + 1] = s;
    }
  });
}

template <class T>
void backward(const CrossEntropyBackwardArgs& args) {
  using A = accumulate_t<T>;
  const int64_t V = args.V;
  const T* logits = static_cast<const T*>(args.logits);
  const A* kept = static_cast<const A*>(args.kept);
  T* grad_logits = static_cast<T*>(args.grad_logits);
  const double scale = static_cast<double>(*static_cast<const A*>(args.grad)) * *args.share;
  parallel_for(args.rows, rows_per_piece(V), [&](int64_t begin, int64_t end) {
    const RowBuffer<T> in(V), out(V);
    const Scratch<A> working(V);
    Array<A> dx(working.get(), V);
    for (int64_t row = begin; row < end; ++row) {
      const int64_t label = args.labels[row];
      T* to = grad_logits + row * V;
      if (label == kIgnoreIndex) {
        std::fill(to, to + V, T());
        continue;
      }
      const A m = kept[2 * row], factor = static_cast<A>(scale / static_cast<double>(kept[2 * row + 1]));
      dx = lanewise([=](auto x) { return factor * lanes::exp(x - m); }, in.read(logits + row * V));
      dx[label] = static_cast<A>(static_cast<double>(dx[label]) - scale);
      out.write(dx, to);
    }
  });
}

}  // namespace

void cross_entropy_forward(const CrossEntropyArgs& args) {
  visit_float(args.dtype, "cross_entropy", [&]<class T>() { forward<T>(args); });
}

void cross_entropy_backward(const CrossEntropyBackwardArgs& args) {
  visit_float(args.dtype, "cross_entropy", [&]<class T>() { backward<T>(args); });
}

}  // namespace ratel::cpu
