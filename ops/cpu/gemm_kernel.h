#pragma once

#include <algorithm>
#include <cstdint>

namespace ratel::cpu {

// The innermost part of a matrix product: a small block of c stays in registers while k runs, fed by panels.
//   panel of a   `height` rows, height <= kPanelRows:  element (i, k) at [i * lda + k], as a matrix lies by rows, or
//                at [k * height + i], which a matrix that lies by columns is copied to
//   panel of b   `width` columns, one of three widths:  element (k, j) at [k * width + j], zeros beyond the last column
// Each k costs height * width FMAs and height + width loads: 14 x 32 on AVX-512, 6 x 16 on AVX2, which the FMA units
// bind. An element of c is one chain of FMAs in the order of k, whatever block it falls into: how a product is cut into
// blocks of rows and columns changes no bit.

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64, kPanelRows = 14;
#elif defined(__AVX__)
inline constexpr int kVectorBytes = 32, kPanelRows = 6;
#else
inline constexpr int kVectorBytes = 16, kPanelRows = 6;
#endif

/// Columns of a full panel of b. The last panels are this, a half or a quarter wide.
template <class T>
inline constexpr int kPanelColumns = 2 * kVectorBytes / static_cast<int>(sizeof(T));

template <class T, int Lanes>
struct VectorOf {
  using Type __attribute__((vector_size(Lanes * sizeof(T)))) = T;
  using Unaligned __attribute__((vector_size(Lanes * sizeof(T)), aligned(alignof(T)), may_alias)) = T;
};

/// How many k are packed at a time: equal parts, rounded up to whole rounds of the kernel's loop over 8, of which the
/// last takes what is left. A function of K alone, for the sums of the parts are added one after the other. At most so
/// many that a panel of b and the rows next to it fit the first-level cache (the second on AVX-512).
inline constexpr int64_t kDeepest = kVectorBytes == 64 ? 256 : 352;
inline int64_t gemm_depth(int64_t K) {
  const int64_t parts = (K + kDeepest - 1) / kDeepest;
  return std::min(K, (K + 8 * parts - 1) / (8 * parts) * 8);
}

/// Rows of each panel when `rows` are cut into as few and as equal panels as possible (the last may be lower).
inline int64_t panel_height(int64_t rows) {
  const int64_t panels = (rows + kPanelRows - 1) / kPanelRows;
  return panels == 0 ? 1 : (rows + panels - 1) / panels;
}

/// Width of the panel that starts where `columns` are left.
template <class T>
int64_t panel_width(int64_t columns) {
  constexpr int64_t kFull = kPanelColumns<T>;
  return columns > kFull / 2 ? kFull : columns > kFull / 4 ? kFull / 2 : kFull / 4;
}

/// Columns with their padding.
template <class T>
int64_t padded_columns(int64_t columns) {
  const int64_t whole = columns / kPanelColumns<T> * kPanelColumns<T>;
  return columns == whole ? whole : whole + panel_width<T>(columns - whole);
}

/// Rows of a, ready to be multiplied.
template <class T>
struct RowsOfA {
  enum class Order {
    rows,    ///< along k, `ld` apart
    panels,  ///< of panel_height(rows) rows, one after the other, all of K each
  };
  const T* data;
  Order order;
  int64_t ld = 0;
};

/// c (rows, columns) = alpha a b, or += where `add`, for packed b.
template <class T>
void multiply_packed(int64_t rows, int64_t columns, int64_t K, T alpha, RowsOfA<T> a, const T* b, T* c, int64_t ldc,
                     bool add);

extern template void multiply_packed<float>(int64_t, int64_t, int64_t, float, RowsOfA<float>, const float*, float*,
                                            int64_t, bool);
extern template void multiply_packed<double>(int64_t, int64_t, int64_t, double, RowsOfA<double>, const double*, double*,
                                             int64_t, bool);

}  // namespace ratel::cpu
