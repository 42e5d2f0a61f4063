#pragma once

#include "ops/matmul.h"

namespace ratel::cuda {

/// How the algorithm of a product is chosen, once for each shape, dtype and alignment.
enum class GemmChoice {
  heuristic,  ///< cuBLASLt's first candidate: the same bits every time on one GPU and one version of cuBLASLt
  timed,      ///< the quickest, each tried on the spot: the bits may differ from one process to the next
};
/// The start is `heuristic`.
void set_gemm_choice(GemmChoice choice);

/// args by cuBLASLt: row-major operands, sums in f32 (f64 for f64) without TF32. M, N, K and batch are at least 1.
/// Throws Error naming the product where cuBLASLt knows no algorithm for it.
void gemm(const MatmulArgs& args, Stream stream);

}  // namespace ratel::cuda
