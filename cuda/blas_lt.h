#pragma once

#include "ops/matmul.h"

namespace ratel::cuda {

/// args by cuBLASLt: row-major operands, sums in f32 (f64 for f64) without TF32. M, N, K and batch are at least 1.
/// Throws Error naming the product where cuBLASLt knows no algorithm for it.
void gemm(const MatmulArgs& args, Stream stream);

}  // namespace ratel::cuda
