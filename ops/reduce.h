#pragma once

#include "core/tensor.h"

namespace ratel {

enum class KeepDims { no, yes };

/// Sum, mean and maximum over some axes; no axes given means all of them.
///
///   x        any shape and layout, f64 | f32 | bf16
///   axes     distinct, negative ones count from the end
///   returns  x's shape without those axes (of size 1 with KeepDims::yes), dtype of x
///
/// Sums are kept in f32 (f64 for f64). Gradient: x; for max the first of several equal maxima gets it; the maximum
/// of what holds a NaN is NaN, and the first NaN gets the gradient. Deterministic on
/// any number of threads. An empty sum is 0. Throws Error for axes that do not exist or repeat, and for the mean or
/// maximum of nothing.
Tensor sum(const Tensor& x, const std::vector<int>& axes = {}, KeepDims keep = KeepDims::no);
Tensor mean(const Tensor& x, const std::vector<int>& axes = {}, KeepDims keep = KeepDims::no);
Tensor max(const Tensor& x, const std::vector<int>& axes = {}, KeepDims keep = KeepDims::no);

/// Where along `axis` the maximum is: the first of several equal ones, the first NaN where there is one.
///
///   x        as above
///   returns  x's shape without the axis (of size 1 with KeepDims::yes), i64
///
/// No gradient. Deterministic. Throws Error as max does.
Tensor argmax(const Tensor& x, int axis = -1, KeepDims keep = KeepDims::no);

/// The reverse of broadcasting: x summed over the axes along which `shape` was stretched to x's shape. x itself where
/// the shapes agree. Gradient: x.
Tensor sum_to(const Tensor& x, const Shape& shape);

/// Square root of the sum of squares of all elements of all tensors (float dtypes), summed in f64; not on the tape.
/// The global gradient norm. Undefined tensors count as zeros.
double global_norm(const std::vector<Tensor>& tensors);

/// x as (rows, n): out[r] = sum or max over row r. argmax, where wanted, is the position of the first maximum.
struct ReduceArgs {
  int64_t rows, n;
  DType dtype;
  const void* x;
  void* out;
  int64_t* argmax;
};
/// out (rows, n) zeros, but value[r] at column argmax[r].
struct ScatterArgs {
  int64_t rows, n;
  DType dtype;
  const int64_t* argmax;
  const void* value;
  void* out;
};
/// out[c] = sum over rows of x[r, c], x as (rows, n).
struct ColumnSumArgs {
  int64_t rows, n;
  DType dtype;
  const void* x;
  void* out;
};
namespace cpu {
void reduce_sum(const ReduceArgs& args);
void reduce_max(const ReduceArgs& args);
void column_sum(const ColumnSumArgs& args);
void scatter_rows(const ScatterArgs& args);
double sum_of_squares(int64_t n, DType dtype, const void* from);
}  // namespace cpu
namespace cuda {
void reduce_sum(const ReduceArgs& args, Stream stream);
void reduce_max(const ReduceArgs& args, Stream stream);
void column_sum(const ColumnSumArgs& args, Stream stream);
void scatter_rows(const ScatterArgs& args, Stream stream);
/// Waits for the result.
double sum_of_squares(int64_t n, DType dtype, const void* from, Stream stream);
}  // namespace cuda

}  // namespace ratel
