#pragma once

#include <string>

#include "core/stream.h"
#include "core/tensor.h"
#include "ops/pattern.h"

namespace ratel {

struct AttentionResult {
  Tensor out;  ///< (B, H, T, d)  dtype of q
  Tensor lse;  ///< (B, H, T)     f32 (f64 for f64): log sum over visible j of exp(q_i . k_j / sqrt d)
};

/// Softmax attention over the keys a pattern admits:
///   out_i = sum_{j visible to i} softmax_j(q_i . k_j / sqrt d) v_j
///
///   q, k, v   (B, H, T, d)  f64 | f32 | bf16, last axis contiguous, T >= 1, any d
///   patterns  one for all heads, or one a head; of top-k blocks none (block_attention takes them)
///   returns   out, contiguous, and lse; scores, softmax and sums in f32 (f64 for f64)
///
/// Work and time are O(T (T/D + W + S) d), memory O(T d): no T x T matrix exists at any moment, forward or backward.
/// Gradients: q, k, v, from both outputs. Deterministic.
/// Throws Error where shapes, dtypes, devices or patterns do not fit, or a last axis is not contiguous.
/// Source: RAT+, arXiv 2602.18196; the backward is derived in docs/derivations/dilated_attention.md.
AttentionResult dilated_attention(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns);

/// The same, composed from matmul, a mask and softmax: the definition, and the oracle for every kernel. O(T^2) memory.
AttentionResult dilated_attention_reference(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const HeadPatterns& patterns);

/// Where the rows of one operand are: row t of head h of batch b starts at data + b*batch + h*head + t*time elements.
struct AttentionOperand {
  const void* data;
  int64_t batch, head, time;
};
/// The operand that x (B, H, T, d), whose last axis is contiguous, is.
AttentionOperand attention_operand(const Tensor& x);
/// Throws Error, naming the op, unless q, k and v are of one shape (B, H, T, d) without an empty T or d, one float
/// dtype and one device, their last axes are contiguous, and the patterns fit H heads.
void check_attention_operands(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns,
                              const char* op);
struct DilatedAttentionArgs {
  int64_t B, H, T, d;
  DType dtype;
  AttentionOperand q, k, v;
  const Pattern* patterns;  // H of them
  void* out;                // (B, H, T, d)
  void* lse;                // (B, H, T)
};
/// grad_lse may be null. The results are contiguous (B, H, T, d), all three are written.
struct DilatedAttentionBackwardArgs {
  int64_t B, H, T, d;
  DType dtype;
  AttentionOperand q, k, v;
  const Pattern* patterns;
  const void *out, *lse;
  const void *grad_out, *grad_lse;
  void *grad_q, *grad_k, *grad_v;
};
namespace cpu {
void dilated_attention_forward(const DilatedAttentionArgs& args);
void dilated_attention_backward(const DilatedAttentionBackwardArgs& args);
}  // namespace cpu
namespace cuda {
/// Whose kernels compute attention in bf16 on a GPU where every query of every head sees all tokens up to itself
/// (D = 1); all else is ours always.
enum class DenseAttention {
  cudnn,  ///< cuDNN's where it is there and has a deterministic kernel for the sizes, ours elsewhere; the first call of
          ///< a shape takes about a second, and 16 shapes have one
  own,    ///< those of this tree
};
/// Of the whole program; the start is `cudnn`.
void set_dense_attention(DenseAttention wanted);
/// Which instructions of the tensor cores our own kernels of bf16, d = 64 and 128, are made of.
enum class AttentionProducts {
  of_warp,       ///< mma.sync: on every GPU from sm_80 on
  of_warpgroup,  ///< wgmma: on GPUs of compute capability 9.0 alone, in programs that were built for sm_90a
};
/// Of the whole program; the start is `of_warpgroup` where every GPU of this machine has them. Throws Error (usage)
/// where one has not.
void set_attention_products(AttentionProducts wanted);
AttentionProducts attention_products();
/// Why cuDNN last computed none that it was asked for; empty where it always could.
std::string dense_attention_refusal();

void dilated_attention_forward(const DilatedAttentionArgs& args, Stream stream);
void dilated_attention_backward(const DilatedAttentionBackwardArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
