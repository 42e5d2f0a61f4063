#pragma once

#include "core/tensor.h"

namespace ratel {

/// Comparisons with broadcasting: axes are aligned at the end, and a size of 1 stretches.
///
///   a, b     any shapes that broadcast, any layout, the same dtype
///   returns  the broadcast shape, contiguous, u8: 1 where it holds, else 0; nothing holds of a NaN
///
/// No gradient. Throws Error where shapes do not broadcast, or dtypes or devices differ.
Tensor equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);

/// The same with a number, rounded to x's dtype. Throws Error besides where that is an integer dtype which does not
/// hold it.
Tensor equal(const Tensor& x, double value);
Tensor less(const Tensor& x, double value);
Tensor less_equal(const Tensor& x, double value);

/// a where the condition is not 0, else b.
///
///   condition  u8
///   a, b       one dtype, any; the three shapes broadcast, any layout
///   returns    the broadcast shape, contiguous, the dtype of a and b
///
/// Gradients: a and b, each where it is taken and 0 elsewhere, whatever the other one's is. Throws Error as above.
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
/// The same with a number in place of one of them, as above.
Tensor where(const Tensor& condition, const Tensor& a, double b);
Tensor where(const Tensor& condition, double a, const Tensor& b);

enum class CompareOp { equal, less, less_equal };
/// out is contiguous in the layouts' one shape.
struct CompareArgs {
  CompareOp op;
  Layout a_layout, b_layout;
  DType dtype;
  const void *a, *b;  // starts of the storages: the layouts' offsets are not applied
  uint8_t* out;
};
struct WhereArgs {
  Layout condition_layout, a_layout, b_layout;
  DType dtype;
  const uint8_t* condition;  // likewise
  const void *a, *b;
  void* out;
};
namespace cpu {
void compare(const CompareArgs& args);
void where(const WhereArgs& args);
}  // namespace cpu
namespace cuda {
void compare(const CompareArgs& args, Stream stream);
void where(const WhereArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
