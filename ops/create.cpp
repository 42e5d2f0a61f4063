#include "ops/create.h"

namespace ratel {

Tensor full(const Shape& shape, double value, DType dtype) {
  Tensor out = empty(shape, dtype);
  cpu::fill({out.numel(), dtype, out.data()}, value);
  return out;
}

Tensor arange(int64_t n, DType dtype) {
  Tensor out = empty({n}, dtype);
  cpu::fill_arange({n, dtype, out.data()});
  return out;
}

namespace {

Tensor random(const Shape& shape, DType dtype, Rng& rng, Distribution distribution, double a, double b) {
  Tensor out = empty(shape, dtype);
  const auto n = static_cast<uint64_t>(out.numel());
  cpu::fill_random({out.numel(), dtype, out.data(), distribution, rng.seed(), rng.stream(), rng.reserve(n), a, b});
  return out;
}

}  // namespace

Tensor random_normal(const Shape& shape, Rng& rng, double mean, double std, DType dtype) {
  check(is_float(dtype), "random_normal: expected a float dtype, found ", dtype);
  return random(shape, dtype, rng, Distribution::normal, mean, std);
}

Tensor random_uniform(const Shape& shape, Rng& rng, double low, double high, DType dtype) {
  check(is_float(dtype), "random_uniform: expected a float dtype, found ", dtype);
  return random(shape, dtype, rng, Distribution::uniform, low, high);
}

Tensor random_integers(const Shape& shape, Rng& rng, int64_t bound, DType dtype) {
  check(!is_float(dtype), "random_integers: expected an integer dtype, found ", dtype);
  check(bound >= 1 && bound <= int64_t{1} << 31, "random_integers: bound must be in [1, 2^31], found ", bound);
  return random(shape, dtype, rng, Distribution::integers, static_cast<double>(bound), 0);
}

}  // namespace ratel
