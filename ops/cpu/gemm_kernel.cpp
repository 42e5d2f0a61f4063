#include "ops/cpu/gemm_kernel.h"

#include <array>
#include <utility>

namespace ratel::cpu {
namespace {

template <class T>
using Order = typename RowsOfA<T>::Order;

/// c = alpha a b, or c += alpha a b where `add`, for Height rows of a and one panel of b, of whose columns the first
/// `columns` are kept.
template <class T, Order<T> AOrder, int Height, int Width>
void multiply_panels(int64_t K, T alpha, const T* a, int64_t lda, const T* b, const T* next, T* c, int64_t ldc,
                     int64_t columns, bool add) {
  constexpr int kLanes = std::min(Width, kVectorBytes / static_cast<int>(sizeof(T))), kVectors = Width / kLanes;
  using Vector = typename VectorOf<T, kLanes>::Type;
  using Memory = typename VectorOf<T, kLanes>::Unaligned;
  constexpr int64_t kLine = 64 / sizeof(T);
  constexpr bool kByRows = AOrder == Order<T>::rows;
  // c is wanted when the sums are complete: by then its lines have come. The rows of a that follow and lines from
  // `next` on are fetched a few at a time, so that the loads of this panel find a free buffer. A panel of a is one
  // stream that goes on in the next panel, which the hardware foresees.
#pragma GCC unroll 14
  for (int i = 0; i < Height; ++i) __builtin_prefetch(c + i * ldc, 1);
  Vector total[Height][kVectors] = {};
  for (int64_t k = 0; k < K;) {
    __builtin_prefetch(next, 0, 2);
    next += kLine;
    if constexpr (kByRows)
#pragma GCC unroll 14
      for (int i = 0; i < Height; ++i) __builtin_prefetch(a + (Height + i) * lda + k);
    for (const int64_t end = std::min(K, k + kLine); k < end; ++k) {
      Vector row[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) row[j] = *reinterpret_cast<const Memory*>(b + k * Width + j * kLanes);
#pragma GCC unroll 14
      for (int i = 0; i < Height; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) total[i][j] += a[kByRows ? i * lda + k : k * Height + i] * row[j];
    }
  }
  // Rows that end inside the panel take a detour, so that every element is computed by the same instructions.
  std::array<T, Width> line{};
#pragma GCC unroll 14
  for (int i = 0; i < Height; ++i) {
    T* out = c + i * ldc;
    T* to = columns == Width ? out : line.data();
    if (columns != Width && add) std::copy_n(out, columns, to);
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      auto* at = reinterpret_cast<Memory*>(to + j * kLanes);
      const Vector scaled = alpha * total[i][j];
      *at = add ? *at + scaled : scaled;
    }
    if (columns != Width) std::copy_n(to, columns, out);
  }
}

/// The same for a height and a width known only at run time.
template <class T, Order<T> AOrder>
void multiply_panels(int64_t height, int64_t width, int64_t K, T alpha, const T* a, int64_t lda, const T* b,
                     const T* next, T* c, int64_t ldc, int64_t columns, bool add) {
  using Kernel = void (*)(int64_t, T, const T*, int64_t, const T*, const T*, T*, int64_t, int64_t, bool);
  static constexpr auto kKernels = []<int... I>(std::integer_sequence<int, I...>) {
    constexpr int kFull = kPanelColumns<T>;
    return std::array<std::array<Kernel, 3>, kPanelRows>{
        {{multiply_panels<T, AOrder, I + 1, kFull / 4>, multiply_panels<T, AOrder, I + 1, kFull / 2>,
          multiply_panels<T, AOrder, I + 1, kFull>}...}};
  }
  (std::make_integer_sequence<int, kPanelRows>());
  const size_t kind = width == kPanelColumns<T> ? 2 : width == kPanelColumns<T> / 2 ? 1 : 0;
  kKernels[static_cast<size_t>(height - 1)][kind](K, alpha, a, lda, b, next, c, ldc, columns, add);
}

}  // namespace

template <class T>
void multiply_packed(int64_t rows, int64_t columns, int64_t K, T alpha, RowsOfA<T> a, const T* b, T* c, int64_t ldc,
                     bool add) {
  // A panel of b stays in the first-level cache while the rows pass by; they stay in the second level.
  const int64_t height = panel_height(rows);
  for (int64_t j = 0; j < columns; j += kPanelColumns<T>) {
    const int64_t left = columns - j, width = panel_width<T>(left), kept = std::min(left, width);
    // The next panel of b comes from far: each panel of a fetches K elements of it.
    const T* next = b + (j + width) * K;
    for (int64_t i = 0; i < rows; i += height, next += K) {
      const int64_t h = std::min(height, rows - i);
      if (a.order == Order<T>::rows)
        multiply_panels<T, Order<T>::rows>(h, width, K, alpha, a.data + i * a.ld, a.ld, b + j * K, next,
                                           c + i * ldc + j, ldc, kept, add);
      else
        multiply_panels<T, Order<T>::panels>(h, width, K, alpha, a.data + i * K, 0, b + j * K, next, c + i * ldc + j,
                                             ldc, kept, add);
    }
  }
}

template void multiply_packed<float>(int64_t, int64_t, int64_t, float, RowsOfA<float>, const float*, float*, int64_t,
                                     bool);
template void multiply_packed<double>(int64_t, int64_t, int64_t, double, RowsOfA<double>, const double*, double*,
                                      int64_t, bool);

}  // namespace ratel::cpu
