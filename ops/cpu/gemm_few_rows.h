#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/cpu/gemm_pack.h"
#include "ops/cpu/scratch.h"

namespace ratel::cpu {

/// Up to this many rows of a, packing b would cost more than multiplying with it.
inline constexpr int64_t kFewRows = 16;
inline constexpr int64_t kDotRows = 8;  // of which so many at a time

// Products of a few rows with the rows of b (both along k): b is read once, as it lies, and bound by memory. Each
// element is the sum of L lanes that walk k together, added in a tree at the end: whatever the number of rows, and of
// columns at a time, by the same roundings.

template <class T, int L>
T sum_lanes(typename VectorOf<T, L>::Type v) {
  if constexpr (L == 1) {
    return v[0];
  } else {
    typename VectorOf<T, L / 2>::Type low, high;
    __builtin_memcpy(&low, &v, sizeof(low));
    __builtin_memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof(low), sizeof(high));
    return sum_lanes<T, L / 2>(low + high);
  }
}

/// c[i, n] for M rows of a, contiguous in T and along k, and Group rows of b.
template <int M, int Group, class T, class E, class C>
void dot_group(int64_t K, T alpha, const T* a, const E* b, int64_t ldb, C* c, int64_t ldc, bool add) {
  constexpr int L = kVectorBytes / static_cast<int>(sizeof(T));
  typename VectorOf<T, L>::Type total[M][Group] = {};
  T rest[M][Group] = {};
  int64_t k = 0;
  for (; k + L <= K; k += L)
#pragma GCC unroll 4
    for (int n = 0; n < Group; ++n) {
      const auto row = load_lanes<T, L>(b + n * ldb + k);
#pragma GCC unroll 8
      for (int i = 0; i < M; ++i) total[i][n] += load_lanes<T, L>(a + i * K + k) * row;
    }
  for (; k < K; ++k)
    for (int n = 0; n < Group; ++n)
      for (int i = 0; i < M; ++i) rest[i][n] = std::fma(a[i * K + k], convert_element<T>(b[n * ldb + k]), rest[i][n]);
  for (int i = 0; i < M; ++i)
    for (int n = 0; n < Group; ++n) {
      const T value = alpha * (sum_lanes<T, L>(total[i][n]) + rest[i][n]);
      c[i * ldc + n] = convert_element<C>(add ? convert_element<T>(c[i * ldc + n]) + value : value);
    }
}

/// Columns of c at a time next to m rows: as many sums as registers hold.
constexpr int dot_columns(int m) {
  constexpr int kSums = kVectorBytes == 64 ? 16 : 8;
  return std::clamp(kSums / m, 1, 4);
}

/// The same for up to dot_columns(M) columns.
template <int M, class T, class E, class C>
void dot_block(int64_t K, T alpha, const T* a, const E* b, int64_t ldb, int64_t columns, C* c, int64_t ldc, bool add) {
  if (columns == dot_columns(M)) return dot_group<M, dot_columns(M)>(K, alpha, a, b, ldb, c, ldc, add);
  for (int64_t n = 0; n < columns; ++n) dot_group<M, 1>(K, alpha, a, b + n * ldb, ldb, c + n, ldc, add);
}

/// c (M, N) = alpha a b^T, or += where `add`, for M <= kFewRows rows of a, contiguous and in the type sums are kept in,
/// and rows of b, ldb apart.
template <class T, class E, class C>
void dot_loaded_rows(int64_t M, int64_t N, int64_t K, T alpha, const T* a, const E* b, int64_t ldb, C* c, int64_t ldc,
                     bool add) {
  using Block = void (*)(int64_t, T, const T*, const E*, int64_t, int64_t, C*, int64_t, bool);
  static constexpr std::array<Block, kDotRows> kBlocks{
      dot_block<1, T, E, C>, dot_block<2, T, E, C>, dot_block<3, T, E, C>, dot_block<4, T, E, C>,
      dot_block<5, T, E, C>, dot_block<6, T, E, C>, dot_block<7, T, E, C>, dot_block<8, T, E, C>};
  const int64_t parts = (M + kDotRows - 1) / kDotRows, height = (M + parts - 1) / parts;
  const int64_t group = dot_columns(static_cast<int>(height));
  for (int64_t n = 0; n < N; n += group)
    for (int64_t i = 0; i < M; i += height) {
      const int64_t m = std::min(height, M - i);
      kBlocks[static_cast<size_t>(m - 1)](K, alpha, a + i * K, b + n * ldb, ldb, std::min(group, N - n),
                                          c + i * ldc + n, ldc, add);
    }
}

/// The same for rows of a with strides (a_row, a_k).
template <class E, class C>
void dot_rows(int64_t M, int64_t N, int64_t K, accumulate_t<E> alpha, const E* a, int64_t a_row, int64_t a_k,
              const E* b, int64_t ldb, C* c, int64_t ldc, bool add) {
  using T = accumulate_t<E>;
  const Scratch<T> rows(M * K);
  for (int64_t i = 0; i < M; ++i)
    for (int64_t k = 0; k < K; ++k) rows[i * K + k] = convert_element<T>(a[i * a_row + k * a_k]);
  dot_loaded_rows(M, N, K, alpha, rows.get(), b, ldb, c, ldc, add);
}

}  // namespace ratel::cpu
