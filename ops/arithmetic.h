#pragma once

#include "core/tensor.h"
#include "ops/create.h"

namespace ratel {

/// Elementwise arithmetic with broadcasting: axes are aligned at the end, and a size of 1 stretches.
///
///   a, b     any shapes that broadcast, any layout, the same float dtype
///   returns  the broadcast shape, contiguous
///
/// Gradients: a and b, summed over the stretched axes. Deterministic. bf16 computes in f32 and rounds once.
/// Throws Error where shapes do not broadcast, dtypes or devices differ, or a dtype is not a float.
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
/// The larger and the smaller of the two: NaN where one of them is. The gradient is that of the one that is taken, a
/// where they are equal.
Tensor maximum(const Tensor& a, const Tensor& b);
Tensor minimum(const Tensor& a, const Tensor& b);

/// The same with a number: x + value, x * value, x / value, and the larger and the smaller of the two. Gradient: x.
Tensor add(const Tensor& x, double value);
Tensor mul(const Tensor& x, double value);
Tensor div(const Tensor& x, double value);
inline Tensor maximum(const Tensor& x, double value) { return maximum(x, full({}, value, x.dtype(), x.device())); }
inline Tensor minimum(const Tensor& x, double value) { return minimum(x, full({}, value, x.dtype(), x.device())); }

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator+(const Tensor& x, double value) { return add(x, value); }
inline Tensor operator+(double value, const Tensor& x) { return add(x, value); }
inline Tensor operator-(const Tensor& x, double value) { return add(x, -value); }
inline Tensor operator-(const Tensor& x) { return mul(x, -1); }
inline Tensor operator-(double value, const Tensor& x) { return add(-x, value); }
inline Tensor operator*(const Tensor& x, double value) { return mul(x, value); }
inline Tensor operator*(double value, const Tensor& x) { return mul(x, value); }
inline Tensor operator/(const Tensor& x, double value) { return div(x, value); }
inline Tensor operator/(double value, const Tensor& x) { return div(full({}, value, x.dtype(), x.device()), x); }

/// into += x for gradients and counters: not on the tape, `into` contiguous and a leaf, the same shape; x may have
/// another float dtype (a bf16 gradient into an f32 sum) and any layout, and may overlap `into`.
/// Counts as a change of `into`.
void add_into(const Tensor& into, const Tensor& x);

enum class BinaryOp { add, sub, mul, div, max, min };
/// out is contiguous in a.shape; a and b are broadcast to that one shape (stride 0 where stretched).
struct BinaryArgs {
  BinaryOp op;
  Layout a_layout, b_layout;
  DType dtype;
  const void *a, *b;  // starts of the storages: the layouts' offsets are not applied
  void* out;
};
enum class NumberOp { add, mul, div };
/// out = x + value, x * value or x / value over n contiguous elements.
struct NumberArgs {
  NumberOp op;
  int64_t n;
  DType dtype;
  const void* x;
  void* out;
  double value;
};
struct AddIntoArgs {
  int64_t n;
  DType into_dtype, x_dtype;
  void* into;
  const void* x;
};
namespace cpu {
void binary(const BinaryArgs& args);
void with_number(const NumberArgs& args);
void add_into(const AddIntoArgs& args);
}  // namespace cpu
namespace cuda {
void binary(const BinaryArgs& args, Stream stream);
void with_number(const NumberArgs& args, Stream stream);
void add_into(const AddIntoArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
