#include "ops/create.h"

#include <limits>

#include "autograd/gradient.h"
#include "core/op_scope.h"

namespace ratel {

namespace {

void run_fill(const FillArgs& args, double value, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::fill(args, value, current_stream(device));
  cpu::fill(args, value);
}

void run_arange(const FillArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::fill_arange(args, current_stream(device));
  cpu::fill_arange(args);
}

void run_random(const RandomArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::fill_random(args, current_stream(device));
  cpu::fill_random(args);
}

Tensor random(const Shape& shape, DType dtype, Device device, Rng& rng, Distribution distribution, double a, double b) {
  const OpScope scope("random");
  Tensor out = empty(shape, dtype, device);
  const auto n = static_cast<uint64_t>(out.numel());
  run_random({out.numel(), dtype, out.data(), distribution, rng.seed(), rng.stream(), rng.reserve(n), a, b}, device);
  return out;
}

}  // namespace

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  const OpScope scope("full");
  Tensor out = empty(shape, dtype, device);
  run_fill({out.numel(), dtype, out.data()}, value, device);
  return out;
}

void fill_into(const Tensor& into, double value) {
  const OpScope scope("fill_into");
  check(is_leaf(into), "fill_into: the target must be a leaf: an op made it");
  check(into.is_contiguous(), "fill_into: the target must be contiguous");
  run_fill({into.numel(), into.dtype(), into.data()}, value, into.device());
  into.storage()->bump_version();
}

Tensor arange(int64_t n, DType dtype, Device device) {
  const OpScope scope("arange");
  Tensor out = empty({n}, dtype, device);
  run_arange({n, dtype, out.data()}, device);
  return out;
}

Tensor random_normal(const Shape& shape, Rng& rng, double mean, double std, DType dtype, Device device) {
  check(is_float(dtype), "random_normal: expected a float dtype, found ", dtype);
  return random(shape, dtype, device, rng, Distribution::normal, mean, std);
}

Tensor random_uniform(const Shape& shape, Rng& rng, double low, double high, DType dtype, Device device) {
  check(is_float(dtype), "random_uniform: expected a float dtype, found ", dtype);
  return random(shape, dtype, device, rng, Distribution::uniform, low, high);
}

Tensor random_integers(const Shape& shape, Rng& rng, int64_t bound, DType dtype, Device device) {
  check(!is_float(dtype), "random_integers: expected an integer dtype, found ", dtype);
  check(bound >= 1 && bound <= int64_t{1} << 31, "random_integers: bound must be in [1, 2^31], found ", bound);
  const bool fits = visit_integer(dtype, "random_integers", [&]<class T>() {
    return bound - 1 <= static_cast<int64_t>(std::numeric_limits<T>::max());
  });
  check(fits, "random_integers: bound ", bound, " does not fit ", dtype);
  return random(shape, dtype, device, rng, Distribution::integers, static_cast<double>(bound), 0);
}

}  // namespace ratel
