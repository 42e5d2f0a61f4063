// Root-mean-square normalisation on the CPU: one row after the other, read twice while it is in the first-level cache,
// pieces of rows in parallel. Bytes an element in f32: forward 8, backward 12, 16 with the residual's gradient; the
// row's sums and products are a few operations an element, so that memory bounds both.
//
// With h = x r, r = 1 / sqrt(mean x^2 + eps):  y = h w;  dx = r (dy w - h mean(dy w h));  dw = sum over rows of dy h.
// The residual's gradient, if there is one, is added to dx. A piece adds its rows' dw up; the pieces' sums are added in
// order.

#include "ops/rms_norm.h"

#include <cmath>

#include "ops/cpu/row_buffer.h"

namespace ratel::cpu {
namespace {

/// Rows a piece: enough of them, and at most 32 pieces where each leaves a sum behind.
int64_t rows_per_sum(int64_t rows, int64_t C) { return std::max(rows_per_piece(C), (rows + 31) / 32); }

template <class T>
void forward(const RmsNormArgs& args) {
  using A = accumulate_t<T>;
  const int64_t C = args.C;
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  A* inverse_rms = static_cast<A*>(args.inverse_rms);
  const RowBuffer<T> weight_row(C);
  const auto w = weight_row.read(static_cast<const T*>(args.weight));
  parallel_for(args.rows, rows_per_piece(C), [&](int64_t begin, int64_t end) {
    const RowBuffer<T> in(C), out(C);
    for (int64_t row = begin; row < end; ++row) {
      const auto values = in.read(x + row * C);
      const A r = 1 / std::sqrt(block_sum(values.square()) / static_cast<A>(C) + static_cast<A>(args.eps));
      inverse_rms[row] = r;
      out.write(values * r * w, y + row * C);
    }
  });
}

template <class T>
void backward(const RmsNormBackwardArgs& args) {
  using A = accumulate_t<T>;
  const int64_t C = args.C;
  const T *x = static_cast<const T*>(args.x), *grad = static_cast<const T*>(args.grad);
  const T* grad_residual = static_cast<const T*>(args.grad_residual);
  const A* inverse_rms = static_cast<const A*>(args.inverse_rms);
  T* grad_x = static_cast<T*>(args.grad_x);
  A* grad_weight = static_cast<A*>(args.grad_weight);
  const RowBuffer<T> weight_row(C);
  const auto w = weight_row.read(static_cast<const T*>(args.weight));
  const int64_t grain = grad_weight == nullptr ? rows_per_piece(C) : rows_per_sum(args.rows, C);
  const int64_t pieces = (args.rows + grain - 1) / grain;
  const Scratch<A> sums(grad_weight == nullptr ? 0 : pieces * C);
  parallel_for(args.rows, grain, [&](int64_t begin, int64_t end) {
    const RowBuffer<T> in(C), grad_in(C), residual_in(C), out(C);
    Array<A> sum(sums.get() + (grad_weight == nullptr ? 0 : begin / grain * C), grad_weight == nullptr ? 0 : C);
    sum.setZero();
    for (int64_t row = begin; row < end; ++row) {
      const auto values = in.read(x + row * C), dy = grad_in.read(grad + row * C);
      const A r = inverse_rms[row];
      if (grad_weight != nullptr) sum += dy * values * r;
      if (grad_x == nullptr) continue;
      const A along = block_sum(dy * w * values) * (r * r) / static_cast<A>(C);
      const auto of_norm = (dy * w - values * along) * r;
      if (grad_residual == nullptr)
        out.write(of_norm, grad_x + row * C);
      else
        out.write(of_norm + residual_in.read(grad_residual + row * C), grad_x + row * C);
    }
  });
  if (grad_weight == nullptr) return;
  Array<A> total(grad_weight, C);
  total.setZero();
  for (int64_t piece = 0; piece < pieces; ++piece) total += ConstArray<A>(sums.get() + piece * C, C);
}

}  // namespace

void rms_norm_forward(const RmsNormArgs& args) {
  visit_float(args.dtype, "rms_norm", [&]<class T>() { forward<T>(args); });
}

void rms_norm_backward(const RmsNormBackwardArgs& args) {
  visit_float(args.dtype, "rms_norm", [&]<class T>() { backward<T>(args); });
}

}  // namespace ratel::cpu
