#pragma once

#include "ops/cpu/gemm_pack.h"
#include "ops/cpu/scratch.h"

namespace ratel::cpu {

/// Up to this many rows of a, packing b would cost more than multiplying with it.
inline constexpr int64_t kFewRows = 4;

// Products of a few rows with the rows of b (both along k): b is read once, as it lies, and bound by memory. Each
// element is the sum of L lanes that walk k together, added in a tree at the end.

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
template <int M, int Group, class T, class E>
void dot_group(int64_t K, T alpha, const T* a, const E* b, int64_t ldb, E* c, int64_t ldc, bool add) {
  constexpr int L = kVectorBytes / static_cast<int>(sizeof(T));
  typename VectorOf<T, L>::Type total[M][Group] = {};
  T rest[M][Group] = {};
  int64_t k = 0;
  for (; k + L <= K; k += L)
#pragma GCC unroll 4
    for (int n = 0; n < Group; ++n) {
      const auto row = load_lanes<T, L>(b + n * ldb + k);
#pragma GCC unroll 4
      for (int i = 0; i < M; ++i) total[i][n] += load_lanes<T, L>(a + i * K + k) * row;
    }
  for (; k < K; ++k)
    for (int n = 0; n < Group; ++n)
      for (int i = 0; i < M; ++i) rest[i][n] += a[i * K + k] * convert_element<T>(b[n * ldb + k]);
  for (int i = 0; i < M; ++i)
    for (int n = 0; n < Group; ++n) {
      const T value = alpha * (sum_lanes<T, L>(total[i][n]) + rest[i][n]);
      c[i * ldc + n] = convert_element<E>(add ? convert_element<T>(c[i * ldc + n]) + value : value);
    }
}

/// c (M, N) = alpha a b^T, or += where `add`, for M <= kFewRows rows of a with strides (a_row, a_k) and rows of b, ldb
/// apart.
template <class E>
void dot_rows(int64_t M, int64_t N, int64_t K, accumulate_t<E> alpha, const E* a, int64_t a_row, int64_t a_k,
              const E* b, int64_t ldb, E* c, int64_t ldc, bool add) {
  using T = accumulate_t<E>;
  const Scratch<T> rows(M * K);
  for (int64_t i = 0; i < M; ++i)
    for (int64_t k = 0; k < K; ++k) rows[i * K + k] = convert_element<T>(a[i * a_row + k * a_k]);
  const auto all = [&]<int m>() {
    int64_t n = 0;
    for (; n + 4 <= N; n += 4) dot_group<m, 4>(K, alpha, rows.get(), b + n * ldb, ldb, c + n, ldc, add);
    for (; n < N; ++n) dot_group<m, 1>(K, alpha, rows.get(), b + n * ldb, ldb, c + n, ldc, add);
  };
  switch (M) {
    case 1: return all.template operator()<1>();
    case 2: return all.template operator()<2>();
    case 3: return all.template operator()<3>();
    default: return all.template operator()<4>();
  }
}

}  // namespace ratel::cpu
