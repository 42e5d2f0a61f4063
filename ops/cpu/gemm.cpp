#include "ops/cpu/gemm.h"

#include <algorithm>
#include <limits>

#ifdef RATEL_OPENBLAS
extern "C" {
void sgemm_(const char* ta, const char* tb, const int* m, const int* n, const int* k, const float* alpha,
            const float* a, const int* lda, const float* b, const int* ldb, const float* beta, float* c,
            const int* ldc);
void dgemm_(const char* ta, const char* tb, const int* m, const int* n, const int* k, const double* alpha,
            const double* a, const int* lda, const double* b, const int* ldb, const double* beta, double* c,
            const int* ldc);
void openblas_set_num_threads(int threads);
}
#else
#include <Eigen/Core>
#endif

// One thread's matrix product: OpenBLAS where it is found (its kernels come within a tenth of the peak), Eigen's
// otherwise. 2 M N K FLOPs over M K + K N + 2 M N elements: bound by FMAs once the smallest of M, N, K is about 32.

namespace ratel::cpu {
namespace {

#ifdef RATEL_OPENBLAS

/// A BLAS is column-major, where a row-major matrix is its own transpose: c^T = op(b)^T op(a)^T.
template <class T>
void product(Transpose ta, Transpose tb, int64_t M, int64_t N, int64_t K, T alpha, const T* a, int64_t lda, const T* b,
             int64_t ldb, T beta, T* c, int64_t ldc) {
  // Our callers are the threads; OpenBLAS' own would only add to them.
  static const bool single_threaded = (openblas_set_num_threads(1), true);
  static_cast<void>(single_threaded);
  const auto narrow = [](int64_t size) {
    check(size <= std::numeric_limits<int>::max(), "gemm: the size ", size, " does not fit 32 bits");
    return static_cast<int>(size);
  };
  const char trans_a = ta == Transpose::yes ? 'T' : 'N', trans_b = tb == Transpose::yes ? 'T' : 'N';
  // A matrix of one row may have any distance between rows, smaller than its width included.
  const int m = narrow(M), n = narrow(N), k = narrow(K);
  const int row_a = narrow(std::max(lda, ta == Transpose::yes ? M : K));
  const int row_b = narrow(std::max(ldb, tb == Transpose::yes ? K : N)), row_c = narrow(std::max(ldc, N));
  if constexpr (sizeof(T) == sizeof(float))
    sgemm_(&trans_b, &trans_a, &n, &m, &k, &alpha, b, &row_b, a, &row_a, &beta, c, &row_c);
  else
    dgemm_(&trans_b, &trans_a, &n, &m, &k, &alpha, b, &row_b, a, &row_a, &beta, c, &row_c);
}

#else

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
void product(Transpose ta, Transpose tb, int64_t M, int64_t N, int64_t K, T alpha, const T* a, int64_t lda, const T* b,
             int64_t ldb, T beta, T* c, int64_t ldc) {
  using Stride = Eigen::OuterStride<>;
  using Operand = Eigen::Map<const Matrix<T>, Eigen::Unaligned, Stride>;
  const Operand x = ta == Transpose::yes ? Operand(a, K, M, Stride(lda)) : Operand(a, M, K, Stride(lda));
  const Operand y = tb == Transpose::yes ? Operand(b, N, K, Stride(ldb)) : Operand(b, K, N, Stride(ldb));
  Eigen::Map<Matrix<T>, Eigen::Unaligned, Stride> out(c, M, N, Stride(ldc));
  if (beta == T{0})
    out.setZero();
  else if (beta != T{1})
    out *= beta;
  if (ta == Transpose::yes && tb == Transpose::yes)
    out.noalias() += alpha * (x.transpose() * y.transpose());
  else if (ta == Transpose::yes)
    out.noalias() += alpha * (x.transpose() * y);
  else if (tb == Transpose::yes)
    out.noalias() += alpha * (x * y.transpose());
  else
    out.noalias() += alpha * (x * y);
}

#endif

}  // namespace

template <class T>
void gemm(Transpose ta, Transpose tb, int64_t M, int64_t N, int64_t K, T alpha, const T* a, int64_t lda, const T* b,
          int64_t ldb, T beta, T* c, int64_t ldc) {
  if (M == 0 || N == 0) return;
  if (K == 0) {
    for (int64_t row = 0; row < M; ++row)
      for (int64_t i = row * ldc; i < row * ldc + N; ++i) c[i] = beta == T{0} ? T{0} : beta * c[i];
    return;
  }
  product(ta, tb, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc);
}

template void gemm<float>(Transpose, Transpose, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*,
                          int64_t, float, float*, int64_t);
template void gemm<double>(Transpose, Transpose, int64_t, int64_t, int64_t, double, const double*, int64_t,
                           const double*, int64_t, double, double*, int64_t);

}  // namespace ratel::cpu
