#pragma once

#include "ops/dilated_attention.h"

namespace ratel {

/// Softmax attention where a head may see the blocks of keys that it scores highest (top-k blocks, see Pattern):
///   out_i = sum_{j visible to i} softmax_j(q_i . k_j / sqrt d) v_j
///
///   q, k, v   (B, H, T, d)  f64 | f32 | bf16, last axis contiguous, T >= 1, d <= 1024
///   patterns  one for all heads, or one a head; dilated ones may stand beside top-k blocks
///   returns   (B, H, T, d)  dtype of q, contiguous; scores of blocks and keys, softmax and sums in f32 (f64 for f64)
///
/// A query of top-k blocks costs O(T/D + K D) keys, memory is O(T d): no T x T matrix exists at any moment. Two blocks
/// whose scores differ by less than their rounding may change places between devices; equal scores never do.
/// For inference: no gradient. Throws Error where one is wanted, and where shapes, dtypes, devices or patterns do not
/// fit, or a last axis is not contiguous. Deterministic.
/// Source: RAT+, arXiv 2602.18196; scores of MoBA, arXiv 2502.13189, and Quest, arXiv 2406.10774.
Tensor block_attention(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns);

/// The same, composed from sums and extrema of blocks, matmul, a mask and softmax: the definition, and the oracle for
/// every kernel. O(T^2) memory.
Tensor block_attention_reference(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns);

/// Throws Error naming `op` where gradients are on and x wants one: which blocks a query sees has none.
void check_wants_no_gradient(const Tensor& x, const char* op);

struct BlockAttentionArgs {
  int64_t B, H, T, d;
  DType dtype;
  AttentionOperand q, k, v;
  const Pattern* patterns;  // H of them
  void* out;                // (B, H, T, d)
};
namespace cpu {
void block_attention(const BlockAttentionArgs& args);
}
namespace cuda {
void block_attention(const BlockAttentionArgs& args, Stream stream);
}

}  // namespace ratel
