#include "ops/reduce.h"

#include <algorithm>
#include <cmath>

#include "ops/cpu/blocks.h"

namespace ratel::cpu {
namespace {

constexpr int64_t kPiece = 1 << 15;

template <class T>
accumulate_t<T> sum_run(const T* x, int64_t n) {
  accumulate_t<T> total = 0;
  for (int64_t i = 0; i < n; i += kBlock) total += (*Loaded<T>(x + i, std::min(kBlock, n - i))).sum();
  return total;
}

}  // namespace

void reduce_sum(const ReduceArgs& args) {
  visit_float(args.dtype, "sum", [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    T* out = static_cast<T*>(args.out);
    if (args.rows == 1) {
      out[0] = static_cast<T>(parallel_sum<accumulate_t<T>>(
          args.n, kPiece, [&](int64_t begin, int64_t end) { return sum_run(x + begin, end - begin); }));
      return;
    }
    parallel_for(args.rows, rows_per_piece(args.n), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) out[row] = static_cast<T>(sum_run(x + row * args.n, args.n));
    });
  });
}

void reduce_max(const ReduceArgs& args) {
  visit_float(args.dtype, "max", [&]<class T>() {
    const T* x = static_cast<const T*>(args.x);
    T* out = static_cast<T*>(args.out);
    parallel_for(args.rows, rows_per_piece(args.n), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* values = x + row * args.n;
        // The first NaN is the largest of all.
        const auto less = [](T a, T b) {
          const auto x = static_cast<accumulate_t<T>>(a), y = static_cast<accumulate_t<T>>(b);
          return x < y || (std::isnan(y) && !std::isnan(x));
        };
        const T* largest = std::max_element(values, values + args.n, less);
        out[row] = *largest;
        args.argmax[row] = largest - values;
      }
    });
  });
}

void column_sum(const ColumnSumArgs& args) {
  visit_float(args.dtype, "sum", [&]<class T>() {
    using A = accumulate_t<T>;
    const T* x = static_cast<const T*>(args.x);
    T* out = static_cast<T*>(args.out);
    // A piece owns a strip of columns and walks the rows: the order of additions is that of the rows.
    parallel_for(args.n, 64, [&](int64_t begin, int64_t end) {
      const int64_t width = end - begin;
      std::array<A, 64> total{};
      for (int64_t row = 0; row < args.rows; ++row)
        for (int64_t c = 0; c < width; ++c)
          total[static_cast<size_t>(c)] += static_cast<A>(x[row * args.n + begin + c]);
      store(total.data(), out + begin, width);
    });
  });
}

void scatter_rows(const ScatterArgs& args) {
  visit_float(args.dtype, "max", [&]<class T>() {
    parallel_for(args.rows, rows_per_piece(args.n), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        T* out = static_cast<T*>(args.out) + row * args.n;
        std::fill(out, out + args.n, T{});
        out[args.argmax[row]] = static_cast<const T*>(args.value)[row];
      }
    });
  });
}

double sum_of_squares(int64_t n, DType dtype, const void* from) {
  return visit_float(dtype, "global_norm", [&]<class T>() {
    const T* x = static_cast<const T*>(from);
    return parallel_sum<double>(n, kPiece, [&](int64_t begin, int64_t end) {
      double total = 0;
      for (int64_t i = begin; i < end; i += kBlock)
        total += (*Loaded<T>(x + i, std::min(kBlock, end - i))).template cast<double>().square().sum();
      return total;
    });
  });
}

}  // namespace ratel::cpu
