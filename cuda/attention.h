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

/// Of each query's own key, (B, H, T) in f32: its probability, and the gradient of q . k, the score before its scale.
struct OwnFactors {
  float *p = nullptr, *ds = nullptr;
};

/// What all kernels of one attention need to know.
struct AttentionShape {
  int64_t B, H, T, d;
  DType dtype;
  const Pattern* patterns;  // on the host, H of them
};

/// The data of a RopeTable (recurrent_attention_stages.h) of d channels a head, and how many of its numbers lie from
/// one batch entry to the next where they stand at different positions.
struct AttentionTurns {
  const void* data = nullptr;
  int64_t batch = 0;
};

/// out = attention, and lse (B, H, T). With a gate gated = out sigmoid(gate), and out is written where it has data.
/// With turns, of what takes_turns(), queries are rotated by them first.
struct AttentionForwardArgs {
  AttentionShape shape;
  AttentionOperand q, k, v;
  AttentionRows out;
  void* lse;
  AttentionOperand gate = {};
  AttentionRows gated = {};
  AttentionTurns turns = {};
};
bool takes_turns(const AttentionForwardArgs& args);
bool takes_turns(const AttentionForwardArgs& args, const CachedAttentionArgs& cache);  // cached_attention_forward's
void attention_forward(const AttentionForwardArgs& args, Stream stream);

/// The same of the new tokens of a cached_attention, n of a sequence, over its cache, which is not written: keys and
/// values of the new tokens are k and v. Rows without a token become zeros in `gated`, and mean nothing in out and lse.
void cached_attention_forward(const AttentionForwardArgs& args, const CachedAttentionArgs& cache, Stream stream);

/// grad_out is the gradient of the attention itself, before any gate; grad_lse (B, H, T) may be null. With turns grad_q
/// is that of the queries before they were rotated by them; the heads of a token then follow one another in it. All
/// three results are written whole.
///
/// What takes_layer() may be closer to a layer's core:
///   with a gate, out is the gated attention and grad_out its gradient; that of gate is written, and that of the
///   attention itself, which the kernels of keys read, to `ungated`
///   with `rotated`, q comes before it is rotated by turns; the rotated queries, for the kernels of keys, are written
///   there
///   with `own`, where no head has a window, the gradients of keys that none but their own query sees are not written:
///   with p and ds of their tokens they are ds q and p ungated, q before it is rotated; of other keys they are turned
///   back
struct AttentionBackwardArgs {
  AttentionShape shape;
  AttentionOperand q, k, v, out, grad_out;
  const void *lse, *grad_lse;
  AttentionRows grad_q, grad_k, grad_v;
  AttentionTurns turns = {};
  AttentionOperand gate = {};
  AttentionRows grad_gate = {}, ungated = {}, rotated = {};
  OwnFactors own = {};
};
bool takes_layer(const AttentionBackwardArgs& args);
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
/// Also writes the statistics, and, without args.own, the gradients of keys that none but their own query sees.
void query_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream);
void key_gradients(const AttentionBackwardArgs& args, const AttentionStatistics& statistics, Stream stream);
}  // namespace tensor_core

}  // namespace ratel::cuda
