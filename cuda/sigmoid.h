#pragma once

#include <cmath>
#include <numbers>

#include "cuda/device.h"

namespace ratel::cuda {

/// 1 / (1 + e^-x), to the last digits for negative x too; the exponential never overflows.
template <class A>
__device__ inline A sigmoid(A x) {
  const A e = std::exp(-std::abs(x));
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

/// The same by the machine's own exponential and reciprocal: for what is rounded to bf16.
__device__ inline float fast_sigmoid(float x) {
  return fast_reciprocal(1 + fast_exp2(-std::numbers::log2e_v<float> * x));
}

/// The one whose digits T shows.
template <class T>
__device__ inline accumulate_t<T> sigmoid_for(accumulate_t<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return fast_sigmoid(x);
  else
    return sigmoid(x);
}

}  // namespace ratel::cuda
