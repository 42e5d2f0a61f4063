#pragma once

// cuda/device.h on a GPU: nothing here costs more than the instruction it stands for.

#include <cuda_runtime.h>

#include "cuda/device.h"

namespace ratel::cuda {

__device__ inline Index3 thread_index() {
  return {static_cast<int>(threadIdx.x), static_cast<int>(threadIdx.y), static_cast<int>(threadIdx.z)};
}
__device__ inline Index3 block_index() {
  return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)};
}
__device__ inline Index3 block_size() {
  return {static_cast<int>(blockDim.x), static_cast<int>(blockDim.y), static_cast<int>(blockDim.z)};
}
__device__ inline Index3 grid_size() {
  return {static_cast<int>(gridDim.x), static_cast<int>(gridDim.y), static_cast<int>(gridDim.z)};
}

/// Barriers that also order memory: of the block, of the warp.
__device__ inline void sync_block() { __syncthreads(); }
__device__ inline void sync_warp() { __syncwarp(); }

/// Of a kernel that starts early, or is followed by one that does (Start, cuda/launch.h): the next kernel may begin
/// once every block was here; and all earlier kernels have ended, with all they wrote, behind this.
__device__ inline void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// The value of another lane: lane ^ mask, lane - delta, lane + delta (the lane's own where there is none), or `from`.
template <class T>
__device__ inline T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <class T>
__device__ inline T shuffle_up(T value, int delta) {
  return __shfl_up_sync(0xffffffffu, value, static_cast<unsigned>(delta));
}
template <class T>
__device__ inline T shuffle_down(T value, int delta) {
  return __shfl_down_sync(0xffffffffu, value, static_cast<unsigned>(delta));
}
template <class T>
__device__ inline T shuffle(T value, int from) {
  return __shfl_sync(0xffffffffu, value, from);
}
__device__ inline uint32_t ballot(bool flag) { return __ballot_sync(0xffffffffu, flag); }
__device__ inline bool any(bool flag) { return __any_sync(0xffffffffu, flag) != 0; }
__device__ inline bool all(bool flag) { return __all_sync(0xffffffffu, flag) != 0; }

/// Ends the launch as an error.
__device__ inline void trap() { asm volatile("trap;"); }

__device__ inline int count_ones(uint32_t flags) { return __popc(flags); }

/// Adds to memory that other blocks add to, and returns what was there. Exact for integers; the order of float
/// additions is chance, so that no result may depend on it.
template <class T>
__device__ inline T atomic_add(T* into, T value) {
  return atomicAdd(into, value);
}

/// 2^x, 1/x and 1/sqrt x to a few ulp of f32, one instruction each.
__device__ inline float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float fast_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline float fast_inverse_root(float x) {
  float y;
  asm("rsqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// cos(pi x) and sin(pi x), whose reduction is exact: no table of 2/pi, and no stack.
__device__ inline double cos_pi(double x) { return cospi(x); }
__device__ inline double sin_pi(double x) { return sinpi(x); }

/// Rounded to nearest even in one instruction; NaN stays NaN.
__device__ inline bfloat16 round_to_bf16(float x) {
  bfloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

/// Two floats as the two bf16 of a register, the first in the low half, rounded to nearest even.
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/// N neighbours in global memory as one access; the address is a multiple of their size.
template <int N, class T>
__device__ inline Vec<T, N> load_vec(const T* from) {
  return *reinterpret_cast<const Vec<T, N>*>(from);
}
/// Into global memory alone. 8 and 16 bytes go as words: elements of an instruction each nvcc would store one by one.
template <class T, int N>
__device__ inline void store_vec(T* into, const Vec<T, N>& values) {
  if constexpr (sizeof(values) == 16) {
    const auto words = std::bit_cast<uint4>(values);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(into)), "r"(words.x),
                 "r"(words.y), "r"(words.z), "r"(words.w)
                 : "memory");
  } else if constexpr (sizeof(values) == 8) {
    const auto words = std::bit_cast<uint2>(values);
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(into)), "r"(words.x), "r"(words.y)
                 : "memory");
  } else {
    *reinterpret_cast<Vec<T, N>*>(into) = values;
  }
}

/// A stretch of the block's shared memory; an index beyond it is undefined on a GPU and an Error in the twin.
template <class T>
class Shared {
 public:
  __device__ explicit Shared(T* begin) : begin_(begin) {}
  __device__ T& operator[](int index) const { return begin_[index]; }
  __device__ Shared operator+(int offset) const { return Shared(begin_ + offset); }
  template <int N>
  __device__ Vec<T, N> load(int index) const {
    return load_vec<N>(begin_ + index);
  }
  template <int N>
  __device__ void store(int index, const Vec<T, N>& values) const {
    *reinterpret_cast<Vec<T, N>*>(begin_ + index) = values;
  }
  __device__ unsigned address(int index) const {
    return static_cast<unsigned>(__cvta_generic_to_shared(begin_ + index));
  }

 private:
  T* begin_;
};

extern __shared__ __align__(1024) unsigned char ratel_shared_memory[];

/// Cuts the shared memory that the launch asked for; every thread cuts the same. Pieces begin at multiples of 16 bytes.
class SharedArena {
 public:
  template <class T>
  __device__ Shared<T> take(int count) {
    T* const begin = reinterpret_cast<T*>(ratel_shared_memory + used_);
    used_ += (count * static_cast<int>(sizeof(T)) + 15) / 16 * 16;
    return Shared<T>(begin);
  }

 private:
  int used_ = 0;
};

/// 16 bytes from global to shared memory without waiting; zeros where not `valid` (the source is then not read). They
/// may be read behind wait_copies by this thread, behind a barrier after it by others.
template <class T>
__device__ inline void copy_async_16(Shared<T> into, int index, const T* from, bool valid = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(into.address(index)), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
/// The same of 4 bytes.
template <class T>
__device__ inline void copy_async_4(Shared<T> into, int index, const T* from, bool valid = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(into.address(index)), "l"(from), "r"(valid ? 4 : 0)
               : "memory");
}
/// Closes the group of the copies begun since the last one.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `Pending` of this thread's groups are under way.
template <int Pending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Four (or two) 8 x 8 matrices of bf16 into the registers of a warp: lane l gives the address of row l % 8 of matrix
/// l / 8. Transposed, the lane gets what lies below one another.
__device__ inline void load_matrix_x4(uint32_t (&to)[4], Shared<bfloat16> from, int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from.address(index))
               : "memory");
}
__device__ inline void load_matrix_x4_transposed(uint32_t (&to)[4], Shared<bfloat16> from, int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from.address(index))
               : "memory");
}
__device__ inline void load_matrix_x2(uint32_t (&to)[2], Shared<bfloat16> from, int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(to[0]), "=r"(to[1])
               : "r"(from.address(index))
               : "memory");
}
__device__ inline void load_matrix_x2_transposed(uint32_t (&to)[2], Shared<bfloat16> from, int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(to[0]), "=r"(to[1])
               : "r"(from.address(index))
               : "memory");
}

/// c += a b on the tensor cores: a (16, 16), b (16, 8) bf16, c (16, 8) f32, spread over a warp.
__device__ inline void multiply_16x8x16(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c.at[0]), "+f"(c.at[1]), "+f"(c.at[2]), "+f"(c.at[3])
      : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b.at[0]), "r"(b.at[1]));
}

}  // namespace ratel::cuda
