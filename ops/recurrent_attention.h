#pragma once

#include "core/stream.h"
#include "core/tensor.h"
#include "ops/pattern.h"

namespace ratel {

enum class Recurrence { gated, none };

/// The core of a RAT+ layer, from the input projection to the gated attention output, in one op:
///   o, q, k, v, g = split(projection, 5)
///   gate = sigmoid(g);  k~ = gated_recurrence(gate, k);  v~ = gated_recurrence(gate, v)      states start at 0
///   a_i = sum_{j visible to i} softmax_j(rope(q_i) . rope(k~_j) / sqrt d) v~_j               per head
///   out = a sigmoid(o)
///
///   projection  (B, T, 5C)  f64 | f32 | bf16, contiguous; (B, T, 4C) without g for Recurrence::none, where k~ = k and
///               v~ = v: the attention-only baseline
///   heads       divides C into heads of an even width d, at most 1024
///   patterns    one for all heads, or one a head
///   returns     (B, T, C)   dtype of the projection; gate, state, softmax in f32 (f64 for f64)
///
/// The projection is read in place. Memory is O(T C), time O(T (T/D + W + S) C); no T x T matrix exists at any moment.
/// Kept for backward: the projection, the result and the softmax's log-sum-exps; the recurrence runs again.
/// Gradient: projection. Deterministic. Throws Error where shapes, dtypes or patterns do not fit.
/// Where a pattern is of top-k blocks the parts run one after the other, attention as block_attention: O(T C) memory
/// for each part, and no gradient (throws Error where one is wanted).
/// Source: RAT+, arXiv 2602.18196, section 3; derivation in docs/derivations/recurrent_attention.md.
Tensor recurrent_attention(const Tensor& projection, int64_t heads, const HeadPatterns& patterns,
                           Recurrence recurrence = Recurrence::gated, double rope_base = 10000.0);

/// The same, composed from split, sigmoid, gated_recurrence_reference, rope_reference and dilated_attention_reference,
/// or block_attention_reference where a pattern is of top-k blocks.
Tensor recurrent_attention_reference(const Tensor& projection, int64_t heads, const HeadPatterns& patterns,
                                     Recurrence recurrence = Recurrence::gated, double rope_base = 10000.0);

/// The C channels of a token's projection that begin at C times this.
enum class ProjectionPart { output_gate = 0, query = 1, key = 2, value = 3, gate = 4 };

/// Kept for backward: out, and lse (B, H, T) in f32 (f64 for f64).
struct RecurrentAttentionArgs {
  int64_t B, T, C, H;
  DType dtype;
  Recurrence recurrence;
  double rope_base;
  const Pattern* patterns;  // H of them
  const void* projection;
  void *out, *lse;
};
/// grad_projection has the projection's shape and is written whole.
struct RecurrentAttentionBackwardArgs {
  int64_t B, T, C, H;
  DType dtype;
  Recurrence recurrence;
  double rope_base;
  const Pattern* patterns;
  const void *projection, *out, *lse, *grad;
  void* grad_projection;
};
namespace cpu {
void recurrent_attention_forward(const RecurrentAttentionArgs& args);
void recurrent_attention_backward(const RecurrentAttentionBackwardArgs& args);
}  // namespace cpu
namespace cuda {
void recurrent_attention_forward(const RecurrentAttentionArgs& args, Stream stream);
void recurrent_attention_backward(const RecurrentAttentionBackwardArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
