#pragma once

#include <cstdint>

// The loop that most of a matrix product's time is spent in, for the one block that binds it: 6 x 16 floats on AVX2.
//
// Bound by FMAs: 12 of them a step of k, two a cycle. Beside them a step needs 2 loads of b and 6 broadcasts of a, 20
// instructions in 6 cycles, where a core may issue 6 a cycle to one thread but only 3 to each of two that share it.
// What a compiler adds to them is what is lost then: GCC 12 makes 23 to 26 of the same loop in C++, rolled or unrolled
// (moves between registers, an address for each row), and with a neighbour on the core takes 8% longer. Here it
// is 20.9.

namespace ratel::cpu {

/// Whether the sums of a block of this size begin with sum_by_eight().
template <class T, int Height, int Width>
inline constexpr bool kSumsByEight = false;

// Sanitizers watch the loads of the loop in C++.
#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)

template <>
inline constexpr bool kSumsByEight<float, 6, 16> = true;

/// sums[i][j] = the products of the first n = K / 8 * 8 steps, each element one chain of FMAs in the order of k, as the
/// loop in C++ computes it. Returns n.
///   a     element (i, k) at a[i * row + k * Step]: a step is 1 in rows, the height 6 in panels
///   b     element (k, j) at b[k * 16 + j]
///   next  n elements from here on are fetched into the second-level cache, half a line an iteration
template <int64_t Step, class Vector>
[[gnu::always_inline]] inline int64_t sum_by_eight(int64_t K, const float* a, int64_t row, const float* b,
                                                   const float* next, Vector (&sums)[6][2]) {
  const float* a3 = a + 3 * row;  // rows 3, 4, 5: an address has room for a row's distance once and twice
  int64_t left = K / 8;
  asm volatile(
      R"(
        vxorps %x[s00], %x[s00], %x[s00]
        vxorps %x[s01], %x[s01], %x[s01]
        vxorps %x[s10], %x[s10], %x[s10]
        vxorps %x[s11], %x[s11], %x[s11]
        vxorps %x[s20], %x[s20], %x[s20]
        vxorps %x[s21], %x[s21], %x[s21]
        vxorps %x[s30], %x[s30], %x[s30]
        vxorps %x[s31], %x[s31], %x[s31]
        vxorps %x[s40], %x[s40], %x[s40]
        vxorps %x[s41], %x[s41], %x[s41]
        vxorps %x[s50], %x[s50], %x[s50]
        vxorps %x[s51], %x[s51], %x[s51]
        test %[left], %[left]
        jz 2f
        .p2align 6
      1:
        prefetcht1 (%[next])
        add $32, %[next]
        .irp k, 0, 1, 2, 3, 4, 5, 6, 7
          vmovups 64*\k(%[b]), %%ymm12
          vmovups 64*\k+32(%[b]), %%ymm13
          vbroadcastss %c[step]*\k(%[a]), %%ymm14
          vfmadd231ps %%ymm12, %%ymm14, %t[s00]
          vfmadd231ps %%ymm13, %%ymm14, %t[s01]
          vbroadcastss %c[step]*\k(%[a], %[row]), %%ymm15
          vfmadd231ps %%ymm12, %%ymm15, %t[s10]
          vfmadd231ps %%ymm13, %%ymm15, %t[s11]
          vbroadcastss %c[step]*\k(%[a], %[row], 2), %%ymm14
          vfmadd231ps %%ymm12, %%ymm14, %t[s20]
          vfmadd231ps %%ymm13, %%ymm14, %t[s21]
          vbroadcastss %c[step]*\k(%[a3]), %%ymm15
          vfmadd231ps %%ymm12, %%ymm15, %t[s30]
          vfmadd231ps %%ymm13, %%ymm15, %t[s31]
          vbroadcastss %c[step]*\k(%[a3], %[row]), %%ymm14
          vfmadd231ps %%ymm12, %%ymm14, %t[s40]
          vfmadd231ps %%ymm13, %%ymm14, %t[s41]
          vbroadcastss %c[step]*\k(%[a3], %[row], 2), %%ymm15
          vfmadd231ps %%ymm12, %%ymm15, %t[s50]
          vfmadd231ps %%ymm13, %%ymm15, %t[s51]
        .endr
        add $8*%c[step], %[a]
        add $8*%c[step], %[a3]
        add $8*64, %[b]
        dec %[left]
        jnz 1b
      2:
      )"
      : [s00] "=&x"(sums[0][0]), [s01] "=&x"(sums[0][1]), [s10] "=&x"(sums[1][0]), [s11] "=&x"(sums[1][1]),
        [s20] "=&x"(sums[2][0]), [s21] "=&x"(sums[2][1]), [s30] "=&x"(sums[3][0]), [s31] "=&x"(sums[3][1]),
        [s40] "=&x"(sums[4][0]), [s41] "=&x"(sums[4][1]), [s50] "=&x"(sums[5][0]), [s51] "=&x"(sums[5][1]),
        [a] "+&r"(a), [a3] "+&r"(a3), [b] "+&r"(b), [next] "+&r"(next), [left] "+&r"(left)
      : [row] "r"(row * int64_t{sizeof(float)}), [step] "i"(Step * int64_t{sizeof(float)})
      : "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
  return K / 8 * 8;
}

#endif

}  // namespace ratel::cpu
