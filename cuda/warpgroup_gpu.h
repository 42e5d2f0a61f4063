#pragma once

// cuda/warpgroup.h on a GPU: nothing here costs more than the instruction it stands for. Only code for sm_90a may call
// it; kHasWarpgroups tells, while a kernel is compiled, whether it is for one.

#include "cuda/warpgroup.h"

namespace ratel::cuda {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
inline constexpr bool kHasWarpgroups = true;
#else
inline constexpr bool kHasWarpgroups = false;
#endif

/// A matrix descriptor of PTX, "asynchronous warpgroup level matrix instructions": the address, the bytes from one
/// stretch of columns to the next, those from eight rows to the next eight, and the swizzle of 128 bytes.
struct SharedMatrix {
  uint64_t bits;
  /// So many elements behind, a multiple of 16: one addition.
  __device__ SharedMatrix behind(int elements) const { return {bits + static_cast<uint64_t>(elements * 2 / 16)}; }
};
/// Whose first element is at `index`: a row that is a multiple of 8, and of its columns one that is a multiple of 16.
__device__ inline SharedMatrix shared_matrix(Shared<bfloat16> in, int index, int elements_of_stretch) {
  constexpr uint64_t kEightRows = 1024 >> 4, kSwizzle128 = 1;
  const uint64_t address = (in.address(index) & 0x3ffffu) >> 4;
  const auto stretch = static_cast<uint64_t>(elements_of_stretch * 2) >> 4;
  return {address | stretch << 16 | kEightRows << 32 | kSwizzle128 << 62};
}

__device__ inline void publish_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/// The compiler is told that it changes these here, so that it moves no change of theirs past it.
template <int N>
__device__ inline void keep(FragmentC (&c)[N]) {
#pragma unroll
  for (FragmentC& eight : c)
    asm volatile("" : "+f"(eight.at[0]), "+f"(eight.at[1]), "+f"(eight.at[2]), "+f"(eight.at[3])::"memory");
}
template <int N>
__device__ inline void keep(FragmentA (&a)[N]) {
#pragma unroll
  for (FragmentA& part : a)
    asm volatile("" : "+r"(part.at[0]), "+r"(part.at[1]), "+r"(part.at[2]), "+r"(part.at[3])::"memory");
}

template <class... Fragments>
__device__ inline void begin_products(Fragments&... changed) {
  (keep(changed), ...);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

#define RATEL_EIGHT(n) "+f"(c[n].at[0]), "+f"(c[n].at[1]), "+f"(c[n].at[2]), "+f"(c[n].at[3])
#define RATEL_32 RATEL_EIGHT(0), RATEL_EIGHT(1), RATEL_EIGHT(2), RATEL_EIGHT(3)
#define RATEL_64 RATEL_32, RATEL_EIGHT(4), RATEL_EIGHT(5), RATEL_EIGHT(6), RATEL_EIGHT(7)
#define RATEL_128                                                                                               \
  RATEL_64, RATEL_EIGHT(8), RATEL_EIGHT(9), RATEL_EIGHT(10), RATEL_EIGHT(11), RATEL_EIGHT(12), RATEL_EIGHT(13), \
      RATEL_EIGHT(14), RATEL_EIGHT(15)

/// c (64, N) = (adds ? c : 0) + the product. c is an operand that changes ("+f") even where it is set: of one that is
/// only written nvcc lets the next turn of a loop move the other sums out of the way, 64 registers a tile in the kernel
/// of keys.
template <int N>
__device__ inline void products_by_rows(FragmentC (&c)[N / 8], SharedMatrix a, SharedMatrix b, int adds) {
  static_assert(N == 32 || N == 64);
  if constexpr (N == 32)
    asm volatile(
        "{.reg .pred adds; setp.ne.b32 adds, %18, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
        "%11, %12, %13, %14, %15}, %16, %17, adds, 1, 1, 0, 0;}"
        : RATEL_32
        : "l"(a.bits), "l"(b.bits), "r"(adds));
  else
    asm volatile(
        "{.reg .pred adds; setp.ne.b32 adds, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
        "%11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "
        "%31}, %32, %33, adds, 1, 1, 0, 0;}"
        : RATEL_64
        : "l"(a.bits), "l"(b.bits), "r"(adds));
}
template <int N>
__device__ inline void set_products_by_rows(FragmentC (&c)[N / 8], SharedMatrix a, SharedMatrix b) {
  products_by_rows<N>(c, a, b, 0);
}
template <int N>
__device__ inline void add_products_by_rows(FragmentC (&c)[N / 8], SharedMatrix a, SharedMatrix b) {
  products_by_rows<N>(c, a, b, 1);
}
template <int N>
__device__ inline void add_products_by_columns(FragmentC (&c)[N / 8], const FragmentA& a, SharedMatrix b) {
  static_assert(N == 64 || N == 128);
  if constexpr (N == 64)
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, "
        "%13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, "
        "%34, %35}, %36, 1, 1, 1, 1;"
        : RATEL_64
        : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "l"(b.bits));
  else
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, "
        "%13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, "
        "%35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, "
        "%57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
        : RATEL_128
        : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "l"(b.bits));
}

#undef RATEL_EIGHT
#undef RATEL_32
#undef RATEL_64
#undef RATEL_128

}  // namespace ratel::cuda
