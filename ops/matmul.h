#pragma once

#include "core/tensor.h"

namespace ratel {

/// Matrix products, named by which operand is read transposed.
///
///   matmul     a (..., M, K)  b (..., K, N)  ->  (..., M, N)      a b
///   matmul_nt  a (..., M, K)  b (..., N, K)  ->  (..., M, N)      a b^T    a linear layer: x W^T, W (out, in)
///   matmul_tn  a (..., K, M)  b (..., K, N)  ->  (..., M, N)      a^T b    a weight's gradient
///
///   a, b     rank >= 2, one float dtype, any layout (rows with contiguous last axes are read in place). The leading
///            axes of both agree, or b has rank 2 and is shared by all of a's.
///   returns  contiguous, dtype of a. bf16 multiplies and accumulates in f32 and rounds once.
///
/// K may be 0 (the result is zeros), M and N too. Gradients: a and b; of a shared b summed over the batch. A leaf's
/// gradient is not rounded to bf16, and is added by the product to what the leaf has gathered, where it may be.
/// Deterministic: the work is cut into tiles by the shapes alone, so that the number of threads changes no bit.
/// Throws Error where shapes, dtypes or devices do not fit.
Tensor matmul(const Tensor& a, const Tensor& b);
Tensor matmul_nt(const Tensor& a, const Tensor& b);
Tensor matmul_tn(const Tensor& a, const Tensor& b);

/// a b^T + addend, rounded once: a linear layer and the residual it is added to. The addend has the product's shape and
/// dtype, any layout; its gradient is the result's.
Tensor matmul_nt(const Tensor& a, const Tensor& b, const Tensor& addend);

/// Products into memory that is there: into = a b, and into += a^T b. Not on the tape; each counts as a change of
/// `into`, which is a contiguous leaf of the product's shape, in the dtype of a or accumulate_dtype of it, and shares
/// no memory with a or b.
void matmul_into(const Tensor& into, const Tensor& a, const Tensor& b);
void add_matmul_tn_into(const Tensor& into, const Tensor& a, const Tensor& b);

/// The definition by mul and sum over a (..., M, N, K) product: slow, and the oracle for the kernels.
Tensor matmul_reference(const Tensor& a, const Tensor& b);

enum class Transpose { no, yes };
/// c = op(a) op(b) + addend; row-major with leading dimensions in elements; c is (M, N) a batch entry, and entries lie
/// *_batch elements apart (0: shared). c is of `dtype`, as a and b, or accumulate_dtype of it. The addend lies as c
/// does: null, c itself, or memory that c does not share.
struct MatmulArgs {
  Transpose transpose_a, transpose_b;
  int64_t batch, M, N, K;
  DType dtype, c_dtype;
  const void *a, *b;
  void* c;
  int64_t lda, ldb, ldc, a_batch, b_batch, c_batch;
  const void* addend;
};
namespace cpu {
void matmul(const MatmulArgs& args);
}  // namespace cpu
namespace cuda {
/// How cuBLASLt's algorithm of a product is chosen, once for each shape, dtype and alignment.
enum class GemmChoice {
  heuristic,  ///< its first candidate: the same bits every time on one GPU and one version of cuBLASLt
  timed,      ///< the quickest of up to eight, each tried on the spot: bits may differ from one process to the next
};
/// Of the whole program; the start is `heuristic`. A product that is recorded before it was computed takes the first
/// candidate, in that recording alone; one that finds no memory for a second result takes it from then on.
void set_gemm_choice(GemmChoice wanted);
GemmChoice gemm_choice();
/// Sets it for a scope; nothing in a program without CUDA.
class GemmChoiceGuard {
 public:
  explicit GemmChoiceGuard(GemmChoice wanted) {
    if constexpr (kHasCuda) {
      before_ = gemm_choice();
      set_gemm_choice(wanted);
    }
  }
  ~GemmChoiceGuard() {
    if constexpr (kHasCuda) set_gemm_choice(before_);
  }
  GemmChoiceGuard(const GemmChoiceGuard&) = delete;
  GemmChoiceGuard& operator=(const GemmChoiceGuard&) = delete;

 private:
  GemmChoice before_ = GemmChoice::heuristic;
};
void matmul(const MatmulArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
