#include "ops/matmul.h"

#include "ops/cpu/gemm_few_rows.h"
#include "ops/cpu/gemm_pack.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/scratch.h"

// c = a b on all threads: a block of b, all of K deep, is packed once by all threads together; then each task packs its
// rows of a, a depth at a time, unless they are read as they lie, and multiplies them with the block. Next to few rows
// each task packs its own columns of b. bf16 becomes f32 while it is packed, and c is kept in an f32 tile until it is
// complete. 2 M N K FLOPs over M K + K N + 2 M N elements; packing reads b once and a once for every block of columns.
// Bound by FMAs, for a few rows by reading b. Tasks follow from the sizes alone.

namespace ratel::cpu {
namespace {

template <class E>
struct Product {
  int64_t M, N, K;
  const E* a;
  int64_t a_row, a_k;  // distances of neighbours along M and K
  const E* b;
  int64_t b_column, b_k;
  E* c;
  int64_t ldc;
  bool accumulate;
};

/// Stands in for parallel_for where the caller is one of many tasks already.
struct Serial {
  template <class F>
  void operator()(int64_t n, int64_t grain, F&& f) const {
    for (int64_t i = 0; i < n; i += grain) f(i, std::min(n, i + grain));
  }
};
struct Parallel {
  template <class F>
  void operator()(int64_t n, int64_t grain, F&& f) const {
    parallel_for(n, grain, std::forward<F>(f));
  }
};

/// Cuts n into `parts` ranges that begin at multiples of `unit` and returns the length of each but the last.
int64_t even_part(int64_t n, int64_t parts, int64_t unit) {
  const int64_t part = (n + parts - 1) / parts;
  return (part + unit - 1) / unit * unit;
}

/// Into how many tasks the rows are cut: about 128 rows each, of which a depth of a stays in the second-level cache; a
/// power of two or a multiple of 8, so that 2, 4 or 8 threads end together. So few rows that they make one task are cut
/// in two unless the columns alone make `enough`.
int64_t count_row_parts(int64_t M, bool enough) {
  const int64_t parts = (M + 127) / 128;
  if (parts > 4) return (parts + 7) / 8 * 8;
  return parts == 1 && M >= 2 * kPanelRows && !enough ? 2 : parts == 3 ? 4 : parts;
}

template <class E, class For>
void multiply(const Product<E>& p, For parallel) {
  using T = accumulate_t<E>;
  constexpr int64_t kUnit = kPanelColumns<T>, kStrip = 8 * kUnit;
  constexpr int64_t kPacked = int64_t{1} << 23;                    // elements of a block of b
  constexpr int64_t kWidest = std::is_same_v<E, T> ? 2048 : 1024;  // its columns
  const int64_t widest = std::clamp(kPacked / p.K / kUnit * kUnit, int64_t{256}, kWidest);
  const int64_t depth = gemm_depth(p.K), depths = (p.K + depth - 1) / depth;
  const int64_t block = even_part(p.N, (p.N + widest - 1) / widest, kUnit);
  const int64_t row_panels = (p.M + kPanelRows - 1) / kPanelRows, row_parts = count_row_parts(p.M, block >= 32 * kUnit);
  const auto row_begin = [&](int64_t part) { return std::min(part * row_panels / row_parts * kPanelRows, p.M); };
  int64_t column_parts = 1;
  while (row_parts * column_parts < 8 && block / column_parts >= (row_parts == 1 ? 8 : 16) * kUnit) column_parts *= 2;
  const int64_t columns_each = even_part(block, column_parts, kUnit);
  // a is read as it lies where few columns would not repay the packing, else packed by each task or, if several of them
  // need it, before.
  const bool direct = std::is_same_v<E, T> && p.a_k == 1 && columns_each <= 256;
  const bool share_a = !direct && column_parts > 1;
  const bool own_b = row_parts == 1;  // its columns of b are of use to no other task
  const Scratch<T> packed_b(own_b ? 0 : padded_columns<T>(std::min(block, p.N)) * p.K),
      shared_a(share_a ? p.M * p.K : 0);
  for (int64_t first = 0; first < p.N; first += block) {
    const int64_t columns = std::min(block, p.N - first), padded = padded_columns<T>(columns);
    const int64_t strips = own_b ? 0 : (columns + kStrip - 1) / kStrip;
    const int64_t shared_parts = share_a && first == 0 ? row_parts : 0;
    parallel((strips + shared_parts) * depths, 1, [&](int64_t i, int64_t) {
      const int64_t k = i % depths * depth, deep = std::min(depth, p.K - k), j = i / depths * kStrip;
      if (i < strips * depths)
        return pack_b(p.b + (first + j) * p.b_column + k * p.b_k, p.b_column, p.b_k, std::min(kStrip, columns - j),
                      deep, packed_b.get() + padded * k + j * deep);
      const int64_t part = i / depths - strips, row = row_begin(part), rows = row_begin(part + 1) - row;
      pack_a(p.a + row * p.a_row + k * p.a_k, p.a_row, p.a_k, rows, deep, shared_a.get() + p.M * k + row * deep);
    });
    parallel(row_parts * column_parts, 1, [&](int64_t task, int64_t) {
      const int64_t part = task / column_parts, i = row_begin(part), rows = row_begin(part + 1) - i;
      const int64_t j = task % column_parts * columns_each, width = std::min(columns_each, columns - j);
      if (width <= 0) return;
      const Scratch<T> own_a(direct || share_a ? 0 : rows * depth), tile(std::is_same_v<E, T> ? 0 : rows * width);
      const Scratch<T> own_columns(own_b ? padded_columns<T>(width) * depth : 0);
      E* c = p.c + i * p.ldc + first + j;
      for (int64_t k = 0; k < p.K; k += depth) {
        const int64_t deep = std::min(depth, p.K - k);
        const E* from = p.a + i * p.a_row + k * p.a_k;
        RowsOfA<T> a = packed_a(share_a ? shared_a.get() + p.M * k + i * deep : own_a.get(), p.a_k, deep);
        if constexpr (std::is_same_v<E, T>)
          if (direct) a = {from, RowsOfA<T>::Order::rows, p.a_row};
        if (!direct && !share_a) pack_a(from, p.a_row, p.a_k, rows, deep, own_a.get());
        const T* b = own_b ? own_columns.get() : packed_b.get() + padded * k + j * deep;
        if (own_b)
          pack_b(p.b + (first + j) * p.b_column + k * p.b_k, p.b_column, p.b_k, width, deep, own_columns.get());
        if constexpr (std::is_same_v<E, T>)
          multiply_packed(rows, width, deep, T{1}, a, b, c, p.ldc, k > 0 || p.accumulate);
        else
          multiply_packed(rows, width, deep, T{1}, a, b, tile.get(), width, k > 0);
      }
      if constexpr (!std::is_same_v<E, T>)
        for (int64_t row = 0; row < rows; ++row) {
          E* out = c + row * p.ldc;
          const T* from = tile.get() + row * width;
          if (p.accumulate)
            for (int64_t n = 0; n < width; ++n) out[n] = convert_element<E>(from[n] + convert_element<T>(out[n]));
          else
            for (int64_t n = 0; n < width; ++n) out[n] = convert_element<E>(from[n]);
        }
    });
  }
}

template <class E, class For>
void one_entry(const Product<E>& p, For parallel) {
  if (p.M <= kFewRows && p.b_k == 1)
    parallel(p.N, rows_per_piece(p.K, 1 << 16), [&](int64_t begin, int64_t end) {
      dot_rows(p.M, end - begin, p.K, accumulate_t<E>{1}, p.a, p.a_row, p.a_k, p.b + begin * p.b_column, p.b_column,
               p.c + begin, p.ldc, p.accumulate);
    });
  else
    multiply(p, parallel);
}

template <class E>
void run(const MatmulArgs& args) {
  const bool ta = args.transpose_a == Transpose::yes, tb = args.transpose_b == Transpose::yes;
  const auto entry = [&](int64_t i) {
    return Product<E>{args.M,
                      args.N,
                      args.K,
                      static_cast<const E*>(args.a) + i * args.a_batch,
                      ta ? 1 : args.lda,
                      ta ? args.lda : 1,
                      static_cast<const E*>(args.b) + i * args.b_batch,
                      tb ? args.ldb : 1,
                      tb ? 1 : args.ldb,
                      static_cast<E*>(args.c) + i * args.c_batch,
                      args.ldc,
                      args.accumulate};
  };
  const int64_t work = args.M * args.N * args.K;  // of one entry
  constexpr int64_t kSmall = 1 << 17, kLarge = 1 << 25;
  if (args.batch > 1 && (args.batch >= 16 || work < kLarge))
    parallel_for(args.batch, std::max<int64_t>(1, kSmall / work), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) one_entry(entry(i), Serial{});
    });
  else
    for (int64_t i = 0; i < args.batch; ++i)
      work < kSmall ? one_entry(entry(i), Serial{}) : one_entry(entry(i), Parallel{});
}

}  // namespace

void matmul(const MatmulArgs& args) {
  if (args.batch == 0 || args.M == 0 || args.N == 0) return;
  visit_float(args.dtype, "matmul", [&]<class E>() {
    if (args.K > 0) return run<E>(args);
    for (int64_t row = 0; row < args.batch * args.M && !args.accumulate; ++row) {
      E* c = static_cast<E*>(args.c) + row / args.M * args.c_batch + row % args.M * args.ldc;
      std::fill(c, c + args.N, E{});
    }
  });
}

}  // namespace ratel::cpu
