#pragma once

#include "core/tensor.h"

namespace ratel {

/// Rotary position embedding: the two halves of the last axis rotate together, channel c < d/2 of token t by the angle
/// (position + t) base^(-2c/d):
///   y[c]       = x[c] cos - x[c + d/2] sin
///   y[c + d/2] = x[c + d/2] cos + x[c] sin
///
///   x         (..., T, d)  f64 | f32 | bf16, any layout, d even
///   position  of token 0
///   returns   (..., T, d)  contiguous; angles are computed in f64, products in f32 (f64 for f64)
///
/// Gradient: x. Deterministic on every device. Throws Error for an odd d, a rank below 2 or a dtype that is not a
/// float. Source: Su et al., "RoFormer", arXiv 2104.09864; the halves as in RAT+, arXiv 2602.18196.
Tensor rope(const Tensor& x, int64_t position = 0, double base = 10000.0);

/// The same, composed from slice, mul and concat.
Tensor rope_reference(const Tensor& x, int64_t position = 0, double base = 10000.0);

enum class Rotation { forward, backward };  ///< backward turns by minus the angle
struct RopeArgs {
  int64_t rows, T, d;  ///< x and y as (rows, T, d), contiguous
  DType dtype;
  const void* x;
  void* y;
  int64_t position;
  double base;
  Rotation rotation;
};
namespace cpu {
void rope(const RopeArgs& args);
}  // namespace cpu
namespace cuda {
void rope(const RopeArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
