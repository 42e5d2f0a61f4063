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

/// Its derivative Phi(x) + x phi(x), of the normal distribution's mass and density.
template <class A>
__device__ inline A gelu_gradient(A x) {
  // The exponential makes a relative error of what x^2 was rounded by: it is put back, unless x^2 overflowed.
  const A square = x * x, lost = std::fma(x, x, -square);
  const A e = std::exp(square / -2), bell = e == 0 ? e : std::fma(e, lost / -2, e);
  const A density = static_cast<A>(std::numbers::inv_sqrtpi / std::numbers::sqrt2) * bell;
  // The small terms first, so that the sum is rounded once near 1/2 or 1.
  const A scaled = x * static_cast<A>(std::numbers::sqrt2 / 2);
  if (std::abs(x) < A{1.5}) return A{0.5} + std::fma(x, density, std::erf(scaled) / 2);
  const A tail = std::erfc(std::abs(scaled)) / 2;
  return x < 0 ? std::fma(x, density, tail) : 1 + std::fma(x, density, -tail);
}

/// The normal distribution's mass beyond |x| and its density there, for what is rounded to bf16: one exponential and
/// one reciprocal, both the machine's own. With t = 1 / (1 + c |x|), mass = e^(-x^2/2) P(t), where P is the polynomial
/// of degree 6 without a constant term whose largest relative error on 0 <= |x| <= 14 is least (Remez): 4.7e-6, an
/// 800th of what rounding to bf16 may err by, in the tail as in the middle. Beyond 13.2 the exponential is flushed to
/// 0.
struct FastNormal {
  float tail, density;
};
__device__ inline FastNormal fast_normal(float x) {
  const float t = fast_reciprocal(std::fma(0.31F, std::abs(x), 1.0F));
  const float bell = fast_exp2(x * x * (std::numbers::log2e_v<float> / -2));
  float mass = -0.07392907108F;
  mass = std::fma(mass, t, 0.180450144F);
  mass = std::fma(mass, t, 0.01574493165F);
  mass = std::fma(mass, t, 0.1334296719F);
  mass = std::fma(mass, t, 0.1204413024F);
  mass = std::fma(mass, t, 0.1238607001F);
  return {bell * (mass * t), bell * (std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>)};
}

/// The ones whose digits T shows. Tails are taken as they are, so that they keep their digits, or from 1, where it has
/// enough of its own.
template <class T>
__device__ inline accumulate_t<T> gelu_for(accumulate_t<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    const float tail = fast_normal(x).tail;
    return x * (x < 0 ? tail : 1 - tail);
  } else {
    return gelu(x);
  }
}
template <class T>
__device__ inline accumulate_t<T> gelu_gradient_for(accumulate_t<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    const FastNormal normal = fast_normal(x);
    const float beyond = std::fma(-std::abs(x), normal.density, normal.tail);
    return x < 0 ? beyond : 1 - beyond;
  } else {
    return gelu_gradient(x);
  }
}

}  // namespace ratel::cuda
