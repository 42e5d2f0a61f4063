#pragma once

#include "core/tensor.h"

namespace ratel {

/// x in row-major order: x itself where it already is, a copy otherwise. Gradient: x.
Tensor contiguous(const Tensor& x);
/// A contiguous copy that shares nothing with x. Gradient: x.
Tensor clone(const Tensor& x);
/// x as another dtype (x itself where it is that dtype). Any layout. Gradient: x, where both dtypes are floats.
Tensor to(const Tensor& x, DType dtype);
/// x on another device (x itself where it is there), contiguous unless it is x. Gradient: x, on x's device.
Tensor to(const Tensor& x, Device device);

/// Writes `from` into `into`, converting the dtype and from any device; counts as a change of `into`. They may overlap:
/// `from` is read as it was before. Not differentiable. Throws Error where shapes differ, `into` is on the tape, or
/// elements of `into` share their place (a broadcast view).
void copy_into(const Tensor& into, const Tensor& from);

/// `into` and `from` have the same shape and any strides.
struct CopyArgs {
  Layout into_layout, from_layout;
  DType into_dtype, from_dtype;
  void* into;        // start of the storage: the layout's offset is not applied
  const void* from;  // likewise
};
namespace cpu {
void copy(const CopyArgs& args);
}  // namespace cpu
namespace cuda {
void copy(const CopyArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
