#include "ops/cpu/gemm.h"

#include "ops/cpu/gemm_few_rows.h"
#include "ops/cpu/scratch.h"

// One thread's matrix product, blocked for the caches: a block of b (kDepth, kColumns) is packed, then blocks of a
// (kRows, kDepth) one after the other, and each pair is multiplied by the register kernel of gemm_kernel.h. 2 M N K
// FLOPs; packing reads b once and a once for every kColumns columns. Bound by FMAs from M, N, K of about 32 on.

namespace ratel::cpu {
namespace {

constexpr int64_t kRows = int64_t{12} * kPanelRows, kColumns = 1024;

}  // namespace

template <class T>
void gemm(Transpose ta, Transpose tb, int64_t M, int64_t N, int64_t K, T alpha, const T* a, int64_t lda, const T* b,
          int64_t ldb, T beta, T* c, int64_t ldc) {
  const bool add = beta != T{0};
  if (beta != T{1} && (add || K == 0))
    for (int64_t row = 0; row < M; ++row)
      for (int64_t i = row * ldc; i < row * ldc + N; ++i) c[i] = add ? beta * c[i] : T{0};
  if (M == 0 || N == 0 || K == 0) return;
  const int64_t a_row = ta == Transpose::yes ? 1 : lda, a_k = ta == Transpose::yes ? lda : 1;
  const int64_t b_column = tb == Transpose::yes ? ldb : 1, b_k = tb == Transpose::yes ? 1 : ldb;
  if (M <= kFewRows && b_k == 1) return dot_rows<T>(M, N, K, alpha, a, a_row, a_k, b, b_column, c, ldc, add);
  const int64_t depth = gemm_depth(K);
  const Scratch<T> rows_of_a(std::min(M, kRows) * depth), packed_b(padded_columns<T>(std::min(N, kColumns)) * depth);
  for (int64_t j = 0; j < N; j += kColumns) {
    const int64_t columns = std::min(kColumns, N - j);
    for (int64_t k = 0; k < K; k += depth) {
      const int64_t deep = std::min(depth, K - k);
      pack_b(b + j * b_column + k * b_k, b_column, b_k, columns, deep, packed_b.get());
      for (int64_t i = 0; i < M; i += kRows) {
        const int64_t rows = std::min(kRows, M - i);
        pack_a(a + i * a_row + k * a_k, a_row, a_k, rows, deep, rows_of_a.get());
        multiply_packed(rows, columns, deep, alpha, packed_a(rows_of_a.get(), a_k, deep), packed_b.get(),
                        c + i * ldc + j, ldc, k > 0 || add);
      }
    }
  }
}

template void gemm<float>(Transpose, Transpose, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*,
                          int64_t, float, float*, int64_t);
template void gemm<double>(Transpose, Transpose, int64_t, int64_t, int64_t, double, const double*, int64_t,
                           const double*, int64_t, double, double*, int64_t);

}  // namespace ratel::cpu
