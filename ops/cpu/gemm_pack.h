#pragma once

#include <algorithm>
#include <bit>
#include <utility>

#include "core/dtype.h"
#include "ops/cpu/gemm_kernel.h"

namespace ratel::cpu {

// Packing copies strips of a and b into the panels that gemm_kernel.h reads. A panel is filled L rows at a time, in
// vectors: L x L blocks are transposed in registers where rows lie along k, copied where they lie side by side. Rows
// left over are covered by a last group that overlaps the one before.

/// L neighbours, converted.
template <class T, int L, class E>
typename VectorOf<T, L>::Type load_lanes(const E* from) {
  using Vector = typename VectorOf<T, L>::Type;
  if constexpr (std::is_same_v<T, E>) {
    return *reinterpret_cast<const typename VectorOf<T, L>::Unaligned*>(from);
  } else {
    static_assert(std::is_same_v<E, bfloat16> && std::is_same_v<T, float>);
    const auto bits = *reinterpret_cast<const typename VectorOf<uint16_t, L>::Unaligned*>(from);
    return std::bit_cast<Vector>(__builtin_convertvector(bits, typename VectorOf<uint32_t, L>::Type) << 16);
  }
}

/// One step of a transposition: exchanges the blocks of S lanes off the diagonal of a pair of rows that are S apart.
template <int S, class Vector, size_t... I>
void exchange(Vector& a, Vector& b, std::index_sequence<I...>) {
  constexpr size_t kLanes = sizeof...(I);
  const Vector low = __builtin_shufflevector(a, b, ((I & S) == 0 ? I : I - S + kLanes)...);
  const Vector high = __builtin_shufflevector(a, b, ((I & S) == 0 ? I + S : I + kLanes)...);
  a = low, b = high;
}

template <int S, int L, class Vector>
void exchange_all(Vector* rows) {
#pragma GCC unroll 8
  for (int i = 0; i < L; ++i)
    if ((i & S) == 0) exchange<S>(rows[i], rows[i + S], std::make_index_sequence<L>());
  if constexpr (S > 1) exchange_all<S / 2, L>(rows);
}

template <class T, int L, class E>
void pack_groups(const E* x, int64_t row_stride, int64_t k_stride, int64_t height, int64_t K, T* out) {
  using Vector = typename VectorOf<T, L>::Type;
  using Memory = typename VectorOf<T, L>::Unaligned;
  const auto store = [&](int64_t k, int64_t i, Vector v) { *reinterpret_cast<Memory*>(out + k * height + i) = v; };
  if (k_stride != 1) {
    for (int64_t k = 0; k < K; ++k)
      for (int64_t i = 0;; i = std::min(i + L, height - L)) {
        store(k, i, load_lanes<T, L>(x + k * k_stride + i));
        if (i == height - L) break;
      }
    return;
  }
  // A cache line of every row of a group before the next group: rows a power of two apart evict one another soon.
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(E));
  int64_t k = 0;
  for (; k + L <= K;) {
    const int64_t end = std::min(k + kLine, K - K % L);
    for (int64_t i = 0;; i = std::min(i + L, height - L)) {
      for (int64_t at = k; at < end; at += L) {
        Vector rows[L];
#pragma GCC unroll 8
        for (int r = 0; r < L; ++r) rows[r] = load_lanes<T, L>(x + (i + r) * row_stride + at);
        exchange_all<L / 2, L>(rows);
#pragma GCC unroll 8
        for (int r = 0; r < L; ++r) store(at + r, i, rows[r]);
      }
      if (i == height - L) break;
    }
    k = end;
  }
  for (; k < K; ++k)
    for (int64_t i = 0; i < height; ++i) out[k * height + i] = convert_element<T>(x[i * row_stride + k]);
}

/// One panel: element (i, k) of x, at x[i * row_stride + k * k_stride], to out[k * height + i], zeros for i >= rows.
/// One of the strides is 1.
template <class T, class E>
void pack_panel(const E* x, int64_t row_stride, int64_t k_stride, int64_t rows, int64_t height, int64_t K, T* out) {
  constexpr int kWide = 32 / static_cast<int>(sizeof(T)), kNarrow = kWide / 2;
  if (rows == height && height >= kWide) return pack_groups<T, kWide>(x, row_stride, k_stride, height, K, out);
  if (rows == height && height >= kNarrow) return pack_groups<T, kNarrow>(x, row_stride, k_stride, height, K, out);
  if (rows < height) std::fill(out, out + height * K, T{0});
  for (int64_t k = 0; k < K; ++k)
    for (int64_t i = 0; i < rows; ++i) out[k * height + i] = convert_element<T>(x[i * row_stride + k * k_stride]);
}

/// Rows [0, rows) of a, in panels of panel_height(rows).
template <class T, class E>
void pack_a(const E* a, int64_t row_stride, int64_t k_stride, int64_t rows, int64_t K, T* out) {
  const int64_t height = panel_height(rows);
  // Where the rows lie side by side, all panels take their part of a cache line before it is evicted.
  const int64_t run = row_stride == 1 ? 16 : K;
  for (int64_t k = 0; k < K; k += run)
    for (int64_t i = 0; i < rows; i += height) {
      const int64_t h = std::min(height, rows - i);
      pack_panel(a + i * row_stride + k * k_stride, row_stride, k_stride, h, h, std::min(run, K - k),
                 out + i * K + k * h);
    }
}

/// Columns [0, columns) of b.
template <class T, class E>
void pack_b(const E* b, int64_t column_stride, int64_t k_stride, int64_t columns, int64_t K, T* out) {
  for (int64_t j = 0; j < columns; j += kPanelColumns<T>) {
    const int64_t width = panel_width<T>(columns - j);
    pack_panel(b + j * column_stride, column_stride, k_stride, std::min(width, columns - j), width, K, out + j * K);
  }
}

}  // namespace ratel::cpu
