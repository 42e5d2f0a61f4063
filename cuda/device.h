#pragma once

// What kernels use that is not plain C++: where a thread is, barriers, shuffles, shared memory, asynchronous copies,
// tensor cores. nvcc takes device_gpu.h, inline functions around the machine's own instructions; the host twin takes
// twin/device.h, the same names for fibers on a CPU, with every access and every barrier checked.
//
// A kernel is a __global__ function or template on plain arguments. The rules that make it run on both:
//
//   - blocks are multiples of 32 threads; every thread of a block reaches every sync_block(), and every lane of a warp
//     every warp function (shuffle..., any, all, ballot, sync_warp, load_matrix..., multiply_...)
//   - shared memory is cut from a SharedArena, and read and written through Shared<T>; store_vec writes global memory
//   - a kernel launched with Start::early calls wait_for_previous() in every thread (cuda/launch.h)
//   - what other threads wrote is read behind a barrier: sync_block(), or sync_warp() within a warp
//   - indices into tensors are int64_t; threads, blocks and shared memory count in int

#include <bit>
#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "cuda/launch.h"

namespace ratel::cuda {

struct Index3 {
  int x = 1, y = 1, z = 1;
};

/// N elements that are loaded and stored as one; at most 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Vec {
  static_assert(sizeof(T) * N <= 16);
  T at[N];
};

/// As many elements as 16 bytes hold.
template <class T>
inline constexpr int kPerVec = 16 / static_cast<int>(sizeof(T));

/// On the host: may rows of C elements that begin at these addresses be read 16 bytes at a time? A null pointer may.
template <class T, class... Pointers>
bool is_vectorisable(int64_t C, Pointers... rows) {
  return C % kPerVec<T> == 0 && ((reinterpret_cast<uintptr_t>(rows) % 16 == 0) && ...);
}

/// The operand registers of multiply_16x8x16, each a pair of bf16, and its f32 sums; laid out as PTX says for
/// mma.m16n8k16: lane l has row l / 4 (and 8 below), columns 2 (l % 4) and the next (and 8 on).
struct FragmentA {
  uint32_t at[4];
};
struct FragmentB {
  uint32_t at[2];
};
struct FragmentC {
  float at[4];
};

}  // namespace ratel::cuda

#ifdef RATEL_HOST_TWIN
#include "cuda/twin/device.h"
#else
#include "cuda/device_gpu.h"
#endif

namespace ratel::cuda {

/// Of the launch, in the x direction: this thread, and how many there are.
__device__ inline int64_t global_thread() {
  return static_cast<int64_t>(block_index().x) * block_size().x + thread_index().x;
}
__device__ inline int64_t global_threads() { return static_cast<int64_t>(grid_size().x) * block_size().x; }

/// Of a block that has one axis.
__device__ inline int lane_index() { return thread_index().x % kWarp; }
__device__ inline int warp_index() { return thread_index().x / kWarp; }
__device__ inline int warp_count() { return block_size().x / kWarp; }

/// The two bf16 of a register as floats, the low half first.
__device__ inline Vec<float, 2> unpack_bf16(uint32_t pair) {
  return {{std::bit_cast<float>(pair << 16), std::bit_cast<float>(pair & 0xffff0000u)}};
}

/// A number in the type sums are kept in as an element: convert_element by the machine's own rounding.
template <class T>
__device__ inline T round_to(accumulate_t<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return round_to_bf16(x);
  else
    return x;
}

/// The sum and the maximum over kLanes neighbouring lanes, a power of two, the same bits in all of them: halves meet in
/// a butterfly.
template <int kLanes, class T>
__device__ inline T lanes_sum(T value) {
  for (int step = kLanes / 2; step > 0; step /= 2) value += shuffle_xor(value, step);
  return value;
}
template <int kLanes, class T>
__device__ inline T lanes_max(T value) {
  for (int step = kLanes / 2; step > 0; step /= 2) {
    const T other = shuffle_xor(value, step);
    if (other > value) value = other;
  }
  return value;
}
template <class T>
__device__ inline T warp_sum(T value) {
  return lanes_sum<kWarp>(value);
}
template <class T>
__device__ inline T warp_max(T value) {
  return lanes_max<kWarp>(value);
}

/// The sum over a block of one axis, the same bits in every thread; `scratch` holds warp_count() elements and may be
/// used again behind the next barrier.
template <class T>
__device__ inline T block_sum(T value, Shared<T> scratch) {
  value = warp_sum(value);
  if (lane_index() == 0) scratch[warp_index()] = value;
  sync_block();
  T total = 0;
  for (int warp = 0; warp < warp_count(); ++warp) total += scratch[warp];
  return total;
}

}  // namespace ratel::cuda
