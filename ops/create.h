#pragma once

#include <cmath>
#include <limits>

#include "core/rng.h"
#include "core/tensor.h"

namespace ratel {

/// Fresh contiguous tensors on `device`. Any dtype; values are converted to it (integers truncate).

Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = kCpu);
inline Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = kCpu) {
  return full(shape, 0, dtype, device);
}
inline Tensor ones(const Shape& shape, DType dtype = DType::f32, Device device = kCpu) {
  return full(shape, 1, dtype, device);
}
inline Tensor zeros_like(const Tensor& x) { return full(x.shape(), 0, x.dtype(), x.device()); }
inline Tensor ones_like(const Tensor& x) { return full(x.shape(), 1, x.dtype(), x.device()); }
/// (n): 0, 1, ..., n-1.
Tensor arange(int64_t n, DType dtype = DType::i64, Device device = kCpu);
/// A rank-0 tensor.
inline Tensor scalar(double value, DType dtype = DType::f32) { return full({}, value, dtype); }

/// Makes every element of `into`, a contiguous leaf, `value`: counts as a change of it.
void fill_into(const Tensor& into, double value);

/// Independent N(mean, std^2); float dtypes. Element i is a function of (seed, stream, rng.next() + i), and rng
/// advances by the number of elements: the same values on any number of threads and, up to rounding, in any dtype and
/// on any device.
Tensor random_normal(const Shape& shape, Rng& rng, double mean = 0, double std = 1, DType dtype = DType::f32,
                     Device device = kCpu);
/// The same, uniform in [low, high).
Tensor random_uniform(const Shape& shape, Rng& rng, double low = 0, double high = 1, DType dtype = DType::f32,
                      Device device = kCpu);
/// Integers uniform in [0, bound); integer dtypes that hold bound - 1, bound at most 2^31.
Tensor random_integers(const Shape& shape, Rng& rng, int64_t bound, DType dtype = DType::i64, Device device = kCpu);

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
/// For the kernels: the largest number of type T below `bound`.
template <class T>
T largest_below(double bound) {
  const T nearest = convert_element<T>(bound);
  if (convert_element<double>(nearest) < bound) return nearest;
  if constexpr (std::is_same_v<T, bfloat16>) {
    bfloat16 below;
    const auto value = static_cast<float>(nearest);
    below.bits = value == 0 ? 0x8001 : static_cast<uint16_t>(value > 0 ? nearest.bits - 1 : nearest.bits + 1);
    return below;
  } else {
    return static_cast<T>(std::nextafter(nearest, -std::numeric_limits<T>::infinity()));
  }
}

namespace cpu {
void fill(const FillArgs& args, double value);
void fill_arange(const FillArgs& args);
void fill_random(const RandomArgs& args);
}  // namespace cpu
namespace cuda {
void fill(const FillArgs& args, double value, Stream stream);
void fill_arange(const FillArgs& args, Stream stream);
void fill_random(const RandomArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
