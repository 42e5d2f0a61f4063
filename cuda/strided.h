#pragma once

#include <array>
#include <limits>

#include "core/layout.h"
#include "cuda/device.h"

namespace ratel::cuda {

/// Where element i of N tensors of one shape lies, axes that lie as one in all of them merged. Index is the type of the
/// divisions: 32 bits take a GPU far less time than 64.
template <int N, class Index>
struct Strided {
  int rank = 0;
  Index sizes[kMaxRank] = {};
  int64_t strides[N][kMaxRank] = {};

  __device__ void positions(int64_t element, int64_t (&at)[N]) const {
    for (int n = 0; n < N; ++n) at[n] = 0;
    Index rest = static_cast<Index>(element);
    for (int axis = rank - 1; axis >= 0; --axis) {
      const Index index = axis == 0 ? rest : rest % sizes[axis];
      rest = axis == 0 ? 0 : rest / sizes[axis];
      for (int n = 0; n < N; ++n) at[n] += static_cast<int64_t>(index) * strides[n][axis];
    }
  }
};

/// On the host. The layouts' offsets are left out: add them to the pointers.
template <class Index, int N>
Strided<N, Index> strided(const std::array<const Layout*, size_t{N}>& layouts) {
  Strided<N, Index> result;
  const Shape& shape = layouts[0]->shape;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == 1) continue;
    bool merges = result.rank > 0;
    for (int n = 0; n < N; ++n)
      merges =
          merges && result.strides[n][result.rank - 1] == shape[axis] * layouts[static_cast<size_t>(n)]->stride(axis);
    if (!merges) result.sizes[result.rank++] = 1;
    result.sizes[result.rank - 1] *= static_cast<Index>(shape[axis]);
    for (int n = 0; n < N; ++n) result.strides[n][result.rank - 1] = layouts[static_cast<size_t>(n)]->stride(axis);
  }
  return result;
}

/// Calls f with the Strided of the layouts, in 32 bits where they count the elements.
template <int N, class F>
void with_strided(const std::array<const Layout*, size_t{N}>& layouts, F&& f) {
  if (layouts[0]->shape.numel() <= std::numeric_limits<uint32_t>::max())
    f(strided<uint32_t, N>(layouts));
  else
    f(strided<uint64_t, N>(layouts));
}

}  // namespace ratel::cuda
