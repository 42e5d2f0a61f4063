#pragma once

#include <cmath>

#include "cuda/device.h"

namespace ratel::cuda {

/// 1 / sqrt(x), rounded once, for x in f32's range. In f32 a Newton step in f64 on the machine's own: a square root and
/// a division in f64 would be some sixty instructions at half the rate.
template <class A>
__device__ inline A inverse_root(double x) {
  if constexpr (std::is_same_v<A, float>) {
    const double near = fast_inverse_root(static_cast<float>(x)), lost = std::fma(-x * near, near, 1.0);
    return static_cast<float>(lost == lost ? std::fma(near / 2, lost, near) : near);  // not where x is infinite or 0
  } else {
    return 1 / std::sqrt(x);
  }
}

}  // namespace ratel::cuda
