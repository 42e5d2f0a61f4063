#pragma once

#include <cmath>
#include <numbers>

#include "cuda/device.h"

namespace ratel::cuda {

/// x (1 + erf(x / sqrt 2)) / 2, by erfc, which keeps its digits where the sum would cancel.
template <class A>
__device__ inline A gelu(A x) {
  return x * (std::erfc(x * static_cast<A>(-std::numbers::sqrt2 / 2)) / 2);
}

}  // namespace ratel::cuda
