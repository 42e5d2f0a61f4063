#pragma once

#include "core/stream.h"
#include "ops/cached_attention.h"
#include "ops/dilated_attention.h"

namespace ratel::cuda {

/// Patterns travel with the launch, so many heads at a time.
inline constexpr int kHeadsPerLaunch = 32;

/// Where the rows of a result are: row t of head h of batch b begins at data + b*batch + h*head + t*time elements.
struct AttentionRows {
  void* data;
  int64_t batch, head, time;
};

/// Contiguous rows of a (B, H, T, d) tensor, and of a (B, T, H d) one.
inline AttentionRows rows_by_head(void* data, int64_t H, int64_t T, int64_t d) { return {data, H * T * d, T * d, d}; }
inline AttentionRows rows_by_token(void* data, int64_t H, int64_t T, int64_t d) { return {data, T * H * d, d, H * d}; }
inline AttentionOperand operand_of(const AttentionRows& rows) { return {rows.data, rows.batch, rows.head, rows.time}; }

/// What all kernels of one attention need to know.
struct AttentionShape {
  int64_t B, H, T, d;
  DType dtype;
  const Pattern* patterns;  // on the host, H of them
};

/// out = attention, and lse (B, H, T). With a gate, gated = out sigmoid(gate) is written as well.
struct AttentionForwardArgs {
  AttentionShape shape;
  AttentionOperand q, k, v;
  AttentionRows out;
  void* lse;
  AttentionOperand gate = {};
  AttentionRows gated = {};
};
void attention_forward(const AttentionForwardArgs& args, Stream stream);

/// The same of the new tokens of a cached_attention, n of a sequence, over its cache, which is not written: keys and
/// values of the new tokens are k and v. Rows without a token become zeros in `gated`, and mean nothing in out and lse.
void cached_attention_forward(const AttentionForwardArgs& args, const CachedAttentionArgs& cache, Stream stream);

/// grad_out is the gradient of the attention itself, before any gate; grad_lse (B, H, T) may be null. With turns, the
/// data of a RopeTable (recurrent_attention_stages.h), grad_q is that of the queries before they were rotated by it;
/// the heads of a token then follow one another in it. All three results are written whole.
///
/// With a gate, of what takes_gate(), grad_out is the gradient of out sigmoid(gate), that of gate is written, and that
/// of the attention itself, which the kernels of keys read, to `ungated`.
struct AttentionBackwardArgs {
  AttentionShape shape;
  AttentionOperand q, k, v, out, grad_out;
  const void *lse, *grad_lse;
  AttentionRows grad_q, grad_k, grad_v;
  const void* turns = nullptr;
  AttentionOperand gate = {};
  AttentionRows grad_gate = {}, ungated = {};
};
bool takes_gate(const AttentionBackwardArgs& args);
void attention_backward(const AttentionBackwardArgs& args, Stream stream);

// The parts of these, each for any sizes (plain) or for what tensor_core::takes().

/// (B, H, T) each, of the type sums are kept in: the terms of the queries' own keys, see attention_own.h.
struct AttentionStatistics {
  void *delta, *p, *ds;
};

namespace plain {
void forward(const AttentionForwardArgs& args, Stream stream);
void cached_forward(const AttentionForwardArgs& args, const CachedAttentionArgs& cache, Stream stream);
void query_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream);
void key_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream);
}  // namespace plain

namespace tensor_core {
/// bf16, d = 64 or 128, and rows that begin at multiples of 16 bytes.
bool takes(const AttentionForwardArgs& args);
bool takes(const AttentionBackwardArgs& args);
bool takes(const AttentionForwardArgs& args, const CachedAttentionArgs& cache);
void forward(const AttentionForwardArgs& args, Stream stream);
void cached_forward(const AttentionForwardArgs& args, const CachedAttentionArgs& cache, Stream stream);
/// Also writes the statistics, and the gradients of keys that none but their own query sees.
void query_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream);
void key_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream);
}  // namespace tensor_core

}  // namespace ratel::cuda
