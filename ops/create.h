#pragma once

#include "core/rng.h"
#include "core/tensor.h"

namespace ratel {

/// Fresh contiguous tensors. Any dtype; values are converted to it (integers truncate).

Tensor full(const Shape& shape, double value, DType dtype = DType::f32);
inline Tensor zeros(const Shape& shape, DType dtype = DType::f32) { return full(shape, 0, dtype); }
inline Tensor ones(const Shape& shape, DType dtype = DType::f32) { return full(shape, 1, dtype); }
inline Tensor zeros_like(const Tensor& x) { return full(x.shape(), 0, x.dtype()); }
inline Tensor ones_like(const Tensor& x) { return full(x.shape(), 1, x.dtype()); }
/// (n): 0, 1, ..., n-1.
Tensor arange(int64_t n, DType dtype = DType::i64);
/// A rank-0 tensor.
inline Tensor scalar(double value, DType dtype = DType::f32) { return full({}, value, dtype); }

/// Independent N(mean, std^2); float dtypes. Element i is a function of (seed, stream, rng.next() + i), and rng
/// advances by the number of elements: the same values on any number of threads and, up to rounding, in any dtype.
Tensor random_normal(const Shape& shape, Rng& rng, double mean = 0, double std = 1, DType dtype = DType::f32);
/// The same, uniform in [low, high).
Tensor random_uniform(const Shape& shape, Rng& rng, double low = 0, double high = 1, DType dtype = DType::f32);
/// Integers uniform in [0, bound); integer dtypes, bound at most 2^31.
Tensor random_integers(const Shape& shape, Rng& rng, int64_t bound, DType dtype = DType::i64);

struct FillArgs {
  int64_t n;
  DType dtype;
  void* out;
};
enum class Distribution { uniform, normal, integers };
/// `a`, `b`: low and high, mean and std, or the bound (in a).
struct RandomArgs {
  int64_t n;
  DType dtype;
  void* out;
  Distribution distribution;
  uint64_t seed, stream, first;
  double a, b;
};
namespace cpu {
void fill(const FillArgs& args, double value);
void fill_arange(const FillArgs& args);
void fill_random(const RandomArgs& args);
}  // namespace cpu

}  // namespace ratel
