// A linear layer with norm, activation and residual for a few rows on the CPU: the rows are normalised once, in the
// type sums are kept in, then tasks read some rows of the weight each, once and as they lie (gemm_few_rows.h), and
// finish their columns of the result in the first-level cache. Bytes: the weight's N K elements; bound by memory, in
// bf16 with 16 rows by the products. Tasks follow from the sizes alone.

#include "ops/fused_linear.h"

#include <cmath>

#include "ops/cpu/gemm_few_rows.h"
#include "ops/cpu/math.h"
#include "ops/cpu/row_buffer.h"

namespace ratel::cpu {
namespace {

/// The rows in the type sums are kept in, normalised where there is a norm.
template <class T>
Scratch<accumulate_t<T>> normed_rows(const FusedLinearArgs& args) {
  using A = accumulate_t<T>;
  const int64_t K = args.K;
  Scratch<A> rows(args.rows * K);
  load(static_cast<const T*>(args.x), rows.get(), args.rows * K);
  if (args.norm_weight == nullptr) return rows;
  const RowBuffer<T> weight(K);
  const auto w = weight.read(static_cast<const T*>(args.norm_weight));
  for (int64_t i = 0; i < args.rows; ++i) {
    Array<A> row(rows.get() + i * K, K);
    row *= w / std::sqrt(block_sum(row.square()) / static_cast<A>(K) + static_cast<A>(args.norm_eps));
  }
  return rows;
}

template <class T>
void run(const FusedLinearArgs& args) {
  using A = accumulate_t<T>;
  const int64_t N = args.N, K = args.K;
  const Scratch<A> rows = normed_rows<T>(args);
  const T *weight = static_cast<const T*>(args.weight), *residual = static_cast<const T*>(args.residual);
  parallel_for(N, rows_per_piece(K, 1 << 16), [&](int64_t begin, int64_t end) {
    const int64_t columns = end - begin;
    const Scratch<A> product(args.rows * columns);
    dot_loaded_rows(args.rows, columns, K, A{1}, rows.get(), weight + begin * K, K, product.get(), columns, false);
    Array<A> all(product.get(), args.rows * columns);
    if (args.activation == Activation::gelu) all = lanewise([](auto v) { return lanes::gelu(v); }, all);
    for (int64_t i = 0; i < args.rows; ++i) {
      const int64_t at = i * N + begin;
      A* const row = product.get() + i * columns;
      if (residual != nullptr)
        for (int64_t n = 0; n < columns; ++n) row[n] += convert_element<A>(residual[at + n]);
      store(row, static_cast<T*>(args.y) + at, columns);
    }
  });
}

}  // namespace

void fused_linear(const FusedLinearArgs& args) {
  visit_float(args.dtype, "fused_linear", [&]<class T>() { run<T>(args); });
}

}  // namespace ratel::cpu
