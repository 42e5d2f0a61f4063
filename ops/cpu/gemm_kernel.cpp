#include "ops/cpu/gemm_kernel.h"

#include <array>
#include <utility>

namespace ratel::cpu {
namespace {

/// c = alpha a b, or c += alpha a b where `add`, for one panel of a and one of b, whose rows are ldb apart (Width where
/// it is packed); `columns` <= Width of them are kept.
template <class T, int Height, int Width>
void multiply_panels(int64_t K, T alpha, const T* a, const T* b, int64_t ldb, T* c, int64_t ldc, int64_t columns,
                     bool add) {
  constexpr int kLanes = std::min(Width, kVectorBytes / static_cast<int>(sizeof(T))), kVectors = Width / kLanes;
  using Vector = typename VectorOf<T, kLanes>::Type;
  using Memory = typename VectorOf<T, kLanes>::Unaligned;
  Vector total[Height][kVectors] = {};
  for (int64_t k = 0; k < K; ++k) {
    Vector row[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) row[j] = *reinterpret_cast<const Memory*>(b + k * ldb + j * kLanes);
#pragma GCC unroll 14
    for (int i = 0; i < Height; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) total[i][j] += a[k * Height + i] * row[j];
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
template <class T>
void multiply_panels(int64_t height, int64_t width, int64_t K, T alpha, const T* a, const T* b, int64_t ldb, T* c,
                     int64_t ldc, int64_t columns, bool add) {
  using Kernel = void (*)(int64_t, T, const T*, const T*, int64_t, T*, int64_t, int64_t, bool);
  static constexpr auto kKernels = []<int... I>(std::integer_sequence<int, I...>) {
    constexpr int kFull = kPanelColumns<T>;
    return std::array<std::array<Kernel, 3>, kPanelRows>{
        {{multiply_panels<T, I + 1, kFull / 4>, multiply_panels<T, I + 1, kFull / 2>,
          multiply_panels<T, I + 1, kFull>}...}};
  }
  (std::make_integer_sequence<int, kPanelRows>());
  const size_t kind = width == kPanelColumns<T> ? 2 : width == kPanelColumns<T> / 2 ? 1 : 0;
  kKernels[static_cast<size_t>(height - 1)][kind](K, alpha, a, b, ldb, c, ldc, columns, add);
}

}  // namespace

template <class T>
void multiply_packed(int64_t rows, int64_t columns, int64_t K, T alpha, const T* a, const T* b, T* c, int64_t ldc,
                     bool add) {
  constexpr int64_t kFull = kPanelColumns<T>;
  constexpr int64_t kStrip = 8 * kFull;  // of b: stays in the second-level cache while all panels of a pass
  const int64_t height = panel_height(rows);
  for (int64_t strip = 0; strip < columns; strip += kStrip)
    for (int64_t i = 0; i < rows; i += height) {
      const int64_t h = std::min(height, rows - i);
      for (int64_t j = strip; j < std::min(columns, strip + kStrip); j += kFull) {
        const int64_t left = columns - j, width = panel_width<T>(left), kept = std::min(left, width);
        multiply_panels(h, width, K, alpha, a + i * K, b + j * K, width, c + i * ldc + j, ldc, kept, add);
      }
    }
}

template void multiply_packed<float>(int64_t, int64_t, int64_t, float, const float*, const float*, float*, int64_t,
                                     bool);
template void multiply_packed<double>(int64_t, int64_t, int64_t, double, const double*, const double*, double*, int64_t,
                                      bool);

}  // namespace ratel::cpu
