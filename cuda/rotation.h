#pragma once

// What rope does to a pair of channels, half a head apart.

#include <cmath>

#include "cuda/device.h"

namespace ratel::cuda {

/// The pair turned by an angle, given by its cosine and sine.
template <class A>
__device__ inline Vec<A, 2> turned(A left, A right, const Vec<A, 2>& turn) {
  return {{std::fma(left, turn.at[0], -(right * turn.at[1])), std::fma(right, turn.at[0], left * turn.at[1])}};
}
/// And by that angle back.
template <class A>
__device__ inline Vec<A, 2> turned_back(A left, A right, const Vec<A, 2>& turn) {
  return {{std::fma(left, turn.at[0], right * turn.at[1]), std::fma(right, turn.at[0], -(left * turn.at[1]))}};
}

}  // namespace ratel::cuda
