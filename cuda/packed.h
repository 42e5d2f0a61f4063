#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "cuda/device.h"

namespace ratel::cuda {

/// N elements that are kept for later as the registers they were loaded into: elements that nvcc sees apart across a
/// loop it keeps in a register each, bf16 too. Where they are used, unpack() gives them in the type sums are kept in.
template <class T, int N>
using Packed = std::conditional_t<sizeof(T) * N == 16, Vec<uint32_t, 4>, Vec<T, N>>;

template <int N, class T>
__device__ Packed<T, N> load_packed(const T* from) {
  if constexpr (sizeof(T) * N == 16)
    return load_vec<4>(reinterpret_cast<const uint32_t*>(from));
  else
    return load_vec<N>(from);
}

template <class A, int N>
struct Unpacked {
  A at[N];
};
template <class T, int N>
__device__ Unpacked<accumulate_t<T>, N> unpack(const Packed<T, N>& from) {
  Unpacked<accumulate_t<T>, N> to;
  if constexpr (std::is_same_v<T, bfloat16> && N == 8) {
    for (int i = 0; i < 4; ++i) {
      const auto pair = unpack_bf16(from.at[i]);
      to.at[2 * i] = pair.at[0];
      to.at[2 * i + 1] = pair.at[1];
    }
  } else {
    const auto values = std::bit_cast<Vec<T, N>>(from);
    for (int i = 0; i < N; ++i) to.at[i] = convert_element<accumulate_t<T>>(values.at[i]);
  }
  return to;
}

}  // namespace ratel::cuda
