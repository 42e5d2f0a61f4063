#pragma once

#include <cstdint>

#include "ops/matmul.h"

namespace ratel::cpu {

/// c = alpha op(a) op(b) + beta c on the calling thread, row-major: op(a) is (M, K), op(b) is (K, N), c is (M, N), and
/// ld* are the distances of stored rows in elements. With beta = 0 what c held does not matter, NaN included; K = 0
/// leaves beta c. T is float or double. The bits of c depend on the sizes and the values only.
template <class T>
void gemm(Transpose ta, Transpose tb, int64_t M, int64_t N, int64_t K, T alpha, const T* a, int64_t lda, const T* b,
          int64_t ldb, T beta, T* c, int64_t ldc);

extern template void gemm<float>(Transpose, Transpose, int64_t, int64_t, int64_t, float, const float*, int64_t,
                                 const float*, int64_t, float, float*, int64_t);
extern template void gemm<double>(Transpose, Transpose, int64_t, int64_t, int64_t, double, const double*, int64_t,
                                  const double*, int64_t, double, double*, int64_t);

}  // namespace ratel::cpu
