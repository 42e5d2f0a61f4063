#include "ops/cpu/gemm_kernel.h"

#include <array>
#include <utility>

#include "ops/cpu/gemm_kernel_avx2.h"

namespace ratel::cpu {
namespace {

template <class T>
using Order = typename RowsOfA<T>::Order;

/// The sums of Height rows of a and one panel of b: a block of c, in registers.
template <class T, int Height, int Width>
struct Sums {
  static constexpr int kLanes = std::min(Width, kVectorBytes / static_cast<int>(sizeof(T))), kVectors = Width / kLanes;
  using Vector = typename VectorOf<T, kLanes>::Type;
  using Memory = typename VectorOf<T, kLanes>::Unaligned;
  Vector at[Height][kVectors];
};

/// sums = a b. Lines from `next` on are fetched a few at a time, so that the loads of this panel find a free buffer.
template <class T, Order<T> AOrder, int Height, int Width>
[[gnu::always_inline]] inline void sum_products(int64_t K, const T* a, int64_t lda, const T* b, const T* next,
                                                Sums<T, Height, Width>& sums) {
  using S = Sums<T, Height, Width>;
  constexpr int64_t kLine = 64 / sizeof(T);
  constexpr bool kByRows = AOrder == Order<T>::rows;
  int64_t k = 0;
  if constexpr (kSumsByEight<T, Height, Width>) {
    constexpr int64_t kStep = kByRows ? 1 : Height;
    k = sum_by_eight<kStep>(K, a, kByRows ? lda : 1, b, next, sums.at);
    next += k;
  } else {
    sums = {};
  }
  while (k < K) {
    __builtin_prefetch(next, 0, 2);
    next += kLine;
    for (const int64_t end = std::min(K, k + kLine); k < end; ++k) {
      typename S::Vector row[S::kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < S::kVectors; ++j)
        row[j] = *reinterpret_cast<const typename S::Memory*>(b + k * Width + j * S::kLanes);
#pragma GCC unroll 14
      for (int i = 0; i < Height; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < S::kVectors; ++j) sums.at[i][j] += a[kByRows ? i * lda + k : k * Height + i] * row[j];
    }
  }
}

/// sums *= alpha. A product that only some sums go through is not fused into what they are added to: wherever a block
/// ends, and whatever stores it, its elements round alike.
template <class T, int Height, int Width>
[[gnu::always_inline]] inline void scale(Sums<T, Height, Width>& sums, T alpha) {
#pragma GCC unroll 14
  for (int i = 0; i < Height; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Sums<T, Height, Width>::kVectors; ++j) sums.at[i][j] *= alpha;
}

/// c = sums, or c += sums where `Add`.
template <bool Add, class T, int Height, int Width>
[[gnu::always_inline]] inline void store(const Sums<T, Height, Width>& sums, T* c, int64_t ldc) {
  using S = Sums<T, Height, Width>;
#pragma GCC unroll 14
  for (int i = 0; i < Height; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < S::kVectors; ++j) {
      auto* at = reinterpret_cast<typename S::Memory*>(c + i * ldc + j * S::kLanes);
      *at = Add ? *at + sums.at[i][j] : sums.at[i][j];
    }
}

/// The same for `columns` of them, which end inside the panel: by way of a whole block.
template <class T, int Height, int Width>
void store_part(const Sums<T, Height, Width>& sums, T* c, int64_t ldc, int64_t columns, bool add) {
  std::array<T, static_cast<size_t>(Height) * Width> block{};
  if (add) {
    for (int i = 0; i < Height; ++i) std::copy_n(c + i * ldc, columns, block.data() + i * Width);
    store<true>(sums, block.data(), Width);
  } else {
    store<false>(sums, block.data(), Width);
  }
  for (int i = 0; i < Height; ++i) std::copy_n(block.data() + i * Width, columns, c + i * ldc);
}

/// c = alpha a b, or c += alpha a b where `add`, for `panels` of Height rows of a and one panel of b, of whose columns
/// the first `columns` are kept.
template <class T, Order<T> AOrder, int Height, int Width>
void multiply_panels(int64_t panels, int64_t K, T alpha, const T* a, int64_t lda, const T* b, const T* next, T* c,
                     int64_t ldc, int64_t columns, bool add) {
  for (; panels > 0; --panels) {
    // c is wanted when the sums are complete: by then its lines have come. The rows of a that follow are left to the
    // hardware: to fetch them costs more than it gives.
#pragma GCC unroll 14
    for (int i = 0; i < Height; ++i) __builtin_prefetch(c + i * ldc, 1);
    Sums<T, Height, Width> sums;
    sum_products<T, AOrder>(K, a, lda, b, next, sums);
    if (alpha != T{1}) scale(sums, alpha);
    if (columns < Width)
      store_part(sums, c, ldc, columns, add);
    else if (add)
      store<true>(sums, c, ldc);
    else
      store<false>(sums, c, ldc);
    a += Height * (AOrder == Order<T>::rows ? lda : K);
    c += Height * ldc;
    next += K;
  }
}

/// The same for a height and a width known only at run time.
template <class T, Order<T> AOrder>
void multiply_panels(int64_t height, int64_t width, int64_t panels, int64_t K, T alpha, const T* a, int64_t lda,
                     const T* b, const T* next, T* c, int64_t ldc, int64_t columns, bool add) {
  using Kernel = void (*)(int64_t, int64_t, T, const T*, int64_t, const T*, const T*, T*, int64_t, int64_t, bool);
  static constexpr auto kKernels = []<int... I>(std::integer_sequence<int, I...>) {
    constexpr int kFull = kPanelColumns<T>;
    return std::array<std::array<Kernel, 3>, kPanelRows>{
        {{multiply_panels<T, AOrder, I + 1, kFull / 4>, multiply_panels<T, AOrder, I + 1, kFull / 2>,
          multiply_panels<T, AOrder, I + 1, kFull>}...}};
  }
  (std::make_integer_sequence<int, kPanelRows>());
  const size_t kind = width == kPanelColumns<T> ? 2 : width == kPanelColumns<T> / 2 ? 1 : 0;
  kKernels[static_cast<size_t>(height - 1)][kind](panels, K, alpha, a, lda, b, next, c, ldc, columns, add);
}

}  // namespace

template <class T>
void multiply_packed(int64_t rows, int64_t columns, int64_t K, T alpha, RowsOfA<T> a, const T* b, T* c, int64_t ldc,
                     bool add) {
  // A panel of b stays in the first-level cache while the rows pass by; they stay in the second level.
  const int64_t height = panel_height(rows), whole = rows / height, rest = rows % height;
  for (int64_t j = 0; j < columns; j += kPanelColumns<T>) {
    const int64_t left = columns - j, width = panel_width<T>(left), kept = std::min(left, width);
    // The next panel of b comes from far: each panel of a fetches K elements of it.
    const auto multiply = [&](int64_t n, int64_t rows_each, int64_t i) {
      const T *from_b = b + j * K, *next = from_b + width * K + i / height * K;
      if (a.order == Order<T>::rows)
        multiply_panels<T, Order<T>::rows>(rows_each, width, n, K, alpha, a.data + i * a.ld, a.ld, from_b, next,
                                           c + i * ldc + j, ldc, kept, add);
      else
        multiply_panels<T, Order<T>::panels>(rows_each, width, n, K, alpha, a.data + i * K, 0, from_b, next,
                                             c + i * ldc + j, ldc, kept, add);
    };
    multiply(whole, height, 0);
    if (rest > 0) multiply(1, rest, whole * height);
  }
}

template void multiply_packed<float>(int64_t, int64_t, int64_t, float, RowsOfA<float>, const float*, float*, int64_t,
                                     bool);
template void multiply_packed<double>(int64_t, int64_t, int64_t, double, RowsOfA<double>, const double*, double*,
                                      int64_t, bool);

}  // namespace ratel::cpu
