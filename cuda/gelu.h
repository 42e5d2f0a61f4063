#pragma once

#include <cmath>
#include <numbers>

#include "cuda/device.h"

namespace ratel::cuda {

/// x (1 + erf(x / sqrt 2)) / 2; where the sum would cancel by erfc, which keeps its digits there.
template <class A>
__device__ inline A gelu(A x) {
  constexpr A kRoot = static_cast<A>(std::numbers::sqrt2 / 2), kHalf = static_cast<A>(0.5);
  return x * (x > -1 ? std::fma(kHalf, std::erf(x * kRoot), kHalf) : kHalf * std::erfc(x * -kRoot));
}

}  // namespace ratel::cuda
