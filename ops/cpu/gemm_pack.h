#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "core/dtype.h"
#include "ops/cpu/gemm_kernel.h"

namespace ratel::cpu {

// Packing brings a and b into the forms that gemm_kernel.h reads: a by rows or in panels, as it lies, which copies it;
// b in panels. b that lies along k is transposed in registers, in blocks of L x L. What is left over is covered by a
// last group that overlaps the one before.

/// Lanes of the blocks that are packed, and of the smaller ones for what is narrower.
template <class T>
inline constexpr int kWideLanes = std::min(kVectorBytes, 32) / static_cast<int>(sizeof(T));
template <class T>
inline constexpr int kNarrowLanes = std::max(kWideLanes<T> / 2, 2);

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
[[gnu::always_inline]] inline void exchange(Vector& a, Vector& b, std::index_sequence<I...>) {
  constexpr size_t kLanes = sizeof...(I);
  const Vector low = __builtin_shufflevector(a, b, ((I & S) == 0 ? I : I - S + kLanes)...);
  const Vector high = __builtin_shufflevector(a, b, ((I & S) == 0 ? I + S : I + kLanes)...);
  a = low, b = high;
}

template <int S, int L, class Vector>
[[gnu::always_inline]] inline void exchange_all(Vector* rows) {
#pragma GCC unroll 8
  for (int i = 0; i < L; ++i)
    if ((i & S) == 0) exchange<S>(rows[i], rows[i + S], std::make_index_sequence<L>());
  if constexpr (S > 1) exchange_all<S / 2, L>(rows);
}

/// out[r, c] = x[r, c], L columns at a time, of which the last overlap those before. columns >= L.
template <class T, int L, class E>
void copy_groups(const E* x, int64_t ldx, int64_t rows, int64_t columns, T* out, int64_t ldo) {
  using Memory = typename VectorOf<T, L>::Unaligned;
  for (int64_t r = 0; r < rows; ++r, x += ldx, out += ldo) {
    for (int64_t c = 0; c + L <= columns; c += L) *reinterpret_cast<Memory*>(out + c) = load_lanes<T, L>(x + c);
    *reinterpret_cast<Memory*>(out + columns - L) = load_lanes<T, L>(x + columns - L);
  }
}

/// out[c, r] = x[r, c] in blocks of L x L, of which the last overlap those before. rows, columns >= L. Lines `ahead` of
/// those that are read are fetched.
template <class T, int L, class E>
void transpose_groups(const E* x, int64_t ldx, int64_t rows, int64_t columns, T* out, int64_t ldo, int64_t ahead) {
  using Memory = typename VectorOf<T, L>::Unaligned;
  // A cache line of every row of a group before the next group: rows a power of two apart evict one another soon.
  constexpr int64_t kLine = std::max<int64_t>(L, 64 / static_cast<int64_t>(sizeof(E)));
  for (int64_t line = 0; line < columns; line += kLine)
    for (int64_t r = 0;; r = std::min(r + L, rows - L)) {
      for (int64_t at = line; at < std::min(columns, line + kLine); at += L) {
        const int64_t c = std::min(at, columns - L);
        typename VectorOf<T, L>::Type block[L];
#pragma GCC unroll 8
        for (int i = 0; i < L; ++i) {
          block[i] = load_lanes<T, L>(x + (r + i) * ldx + c);
          if (at == line) __builtin_prefetch(x + (r + i) * ldx + c + ahead, 0, 2);
        }
        exchange_all<L / 2, L>(block);
#pragma GCC unroll 8
        for (int i = 0; i < L; ++i) *reinterpret_cast<Memory*>(out + (c + i) * ldo + r) = block[i];
      }
      if (r == rows - L) break;
    }
}

/// out[r, c] = x[r, c] with rows of x ldx and rows of out ldo apart.
template <class T, class E>
void pack_rows(const E* x, int64_t ldx, int64_t rows, int64_t columns, T* out, int64_t ldo) {
  constexpr int kWide = kWideLanes<T>, kNarrow = kNarrowLanes<T>;
  if (columns >= kWide) return copy_groups<T, kWide>(x, ldx, rows, columns, out, ldo);
  if (columns >= kNarrow) return copy_groups<T, kNarrow>(x, ldx, rows, columns, out, ldo);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[r * ldo + c] = convert_element<T>(x[r * ldx + c]);
}

/// out[c, r] = x[r, c]; lines `ahead` of those that are read are fetched.
template <class T, class E>
void pack_transposed(const E* x, int64_t ldx, int64_t rows, int64_t columns, T* out, int64_t ldo, int64_t ahead = 0) {
  constexpr int kWide = kWideLanes<T>, kNarrow = kNarrowLanes<T>;
  const int64_t smaller = std::min(rows, columns);
  if (smaller >= kWide) return transpose_groups<T, kWide>(x, ldx, rows, columns, out, ldo, ahead);
  if (smaller >= kNarrow) return transpose_groups<T, kNarrow>(x, ldx, rows, columns, out, ldo, ahead);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[c * ldo + r] = convert_element<T>(x[r * ldx + c]);
}

/// Panels of Height rows of a that lies by columns: `panels` of them side by side, each K deep in `out`.
template <class T, int Height, class E>
void pack_row_panels(const E* a, int64_t lda, int64_t panels, int64_t K, T* out) {
  // Vectors take up to twice what the panel wants where neither a nor `out` ends before: the next k overwrites the
  // rest.
  constexpr int kTaken = static_cast<int>(std::bit_ceil(static_cast<unsigned>(Height)));
  constexpr int kLanes = std::min(kTaken, kVectorBytes / static_cast<int>(sizeof(T)));
  using Memory = typename VectorOf<T, kLanes>::Unaligned;
  // So many k at a time that their lines stay in the first-level cache while the panels take their parts of them.
  constexpr int64_t kRun = 16;
  for (int64_t k = 0; k < K; k += kRun) {
    const int64_t end = std::min(k + kRun, K);
    for (int64_t p = 0; p < panels; ++p) {
      const E* from = a + p * Height;
      T* to = out + p * K * Height;
      const int64_t wide_end = p + 1 < panels ? std::min(end, K - 1) : k;
      for (int64_t i = k; i < wide_end; ++i) {
        if (p % 2 == 0) __builtin_prefetch(from + (i + kRun) * lda, 0, 2);
#pragma GCC unroll 4
        for (int lane = 0; lane < kTaken; lane += kLanes)
          *reinterpret_cast<Memory*>(to + i * Height + lane) = load_lanes<T, kLanes>(from + i * lda + lane);
      }
      for (int64_t i = std::max(k, wide_end); i < end; ++i)
#pragma GCC unroll 14
        for (int lane = 0; lane < Height; ++lane) to[i * Height + lane] = convert_element<T>(from[i * lda + lane]);
    }
  }
}

template <class T, class E>
void pack_row_panels(int64_t height, const E* a, int64_t lda, int64_t panels, int64_t K, T* out) {
  using Pack = void (*)(const E*, int64_t, int64_t, int64_t, T*);
  static constexpr auto kPacks = []<int... I>(std::integer_sequence<int, I...>) {
    return std::array<Pack, kPanelRows>{pack_row_panels<T, I + 1, E>...};
  }
  (std::make_integer_sequence<int, kPanelRows>());
  kPacks[static_cast<size_t>(height - 1)](a, lda, panels, K, out);
}

/// Rows [0, rows) of a, whose element (i, k) is at a[i * row_stride + k * k_stride], into rows * K elements. One of the
/// strides is 1.
template <class T, class E>
void pack_a(const E* a, int64_t row_stride, int64_t k_stride, int64_t rows, int64_t K, T* out) {
  if (k_stride == 1) return pack_rows(a, row_stride, rows, K, out, K);
  const int64_t height = panel_height(rows), whole = rows / height, rest = rows % height;
  pack_row_panels(height, a, k_stride, whole, K, out);
  if (rest > 0) pack_row_panels(rest, a + whole * height, k_stride, 1, K, out + whole * height * K);
}

/// What pack_a() leaves in `packed`.
template <class T>
RowsOfA<T> packed_a(const T* packed, int64_t k_stride, int64_t K) {
  using Order = typename RowsOfA<T>::Order;
  return {packed, k_stride == 1 ? Order::rows : Order::panels, K};
}

/// Full panels of b from rows that lie along its columns: a row of b is read once, into all panels.
template <class T, class E>
void pack_full_panels(const E* b, int64_t ldb, int64_t columns, int64_t K, T* out) {
  constexpr int kFull = kPanelColumns<T>, L = kWideLanes<T>;
  using Memory = typename VectorOf<T, L>::Unaligned;
  constexpr int64_t kAhead = 8;
  for (int64_t k = 0; k < K; ++k, b += ldb)
    for (int64_t j = 0; j < columns; j += kFull) {
      __builtin_prefetch(b + kAhead * ldb + j, 0, 2);
#pragma GCC unroll 4
      for (int lane = 0; lane < kFull; lane += L)
        *reinterpret_cast<Memory*>(out + j * K + k * kFull + lane) = load_lanes<T, L>(b + j + lane);
    }
}

/// Columns [0, columns) of b, whose element (k, j) is at b[j * column_stride + k * k_stride], in panels.
template <class T, class E>
void pack_b(const E* b, int64_t column_stride, int64_t k_stride, int64_t columns, int64_t K, T* out) {
  const int64_t full = column_stride == 1 ? columns / kPanelColumns<T> * kPanelColumns<T> : 0;
  if (full > 0) pack_full_panels(b, k_stride, full, K, out);
  for (int64_t j = full; j < columns; j += kPanelColumns<T>) {
    const int64_t width = panel_width<T>(columns - j), kept = std::min(width, columns - j);
    const E* from = b + j * column_stride;
    if (kept < width) std::fill_n(out + j * K, width * K, T{0});
    if (column_stride == 1)
      pack_rows(from, k_stride, K, kept, out + j * K, width);
    else
      pack_transposed(from, column_stride, kept, K, out + j * K, width);
  }
}

}  // namespace ratel::cpu
