#pragma once

// The parts of recurrent_attention around its attention kernels: rope, and the recurrence of keys and values. One call
// of the op makes one RopeTable and passes it to all of them. Forward:
//
//   rotate_heads (q)              q of the projection -> q^ (B, T, C)
//   recurrence_stage_forward      k, v, g of the projection -> k^, v~ (B, T, C); carries only where backward follows
//   attention                     reads q^, k^, v~
//
// rotate_heads only where the attention's kernels do not rotate q themselves. Backward runs both again, now with
// carries, then attention's backward, which writes q's part of grad_projection and leaves the gradients of k^ and v~,
// but, where no head has a window, of those keys alone that other queries see, and with them
//
//   recurrence_stage_backward     -> k's, v's and g's parts of grad_projection
//
// Without recurrence (projections of 4C), keys are rotated as queries are, and values are read where they lie.

#include "core/stream.h"
#include "cuda/attention.h"
#include "cuda/scratch.h"
#include "ops/rope.h"

namespace ratel::cuda {

/// (T, d/2) pairs of cosine and sine, f32 (f64 for f64): the angle of pair c at token t is
/// (position + t) base^(-2c/d), computed in f64 from the host's powers and rounded once, so that the bits are those of
/// the CPU's angles. Working memory of the stream: lives as long as this object.
class RopeTable {
 public:
  RopeTable(DType dtype, int64_t position, int64_t T, int64_t d, double base, Stream stream);
  [[nodiscard]] const void* data() const { return pairs_.get(); }

 private:
  Scratch<unsigned char> pairs_;
};

/// y = x rotated by the table, H heads of d channels a token. Token t of batch b begins at b batch_stride + t
/// time_stride elements, and its heads follow one another. y may be x.
struct RotateHeadsArgs {
  int64_t B, T, H, d;
  DType dtype;
  const void* table;  // of T tokens
  const void* x;
  int64_t x_batch_stride, x_time_stride;
  void* y;
  int64_t y_batch_stride, y_time_stride;
  Rotation rotation;
  int64_t table_batch_stride = 0;  // where batch entries stand at different positions: numbers of their tables
};
void rotate_heads(const RotateHeadsArgs& args, Stream stream);

/// gate = sigmoid(g);  k~ = scan(gate, k);  v~ = scan(gate, v);  keys = k~ rotated, values = v~. From zero states, or
/// of sequences that go on.
struct RecurrenceStageArgs {
  int64_t B, T, C, H;
  DType dtype;
  const void* projection;  // (B, T, 5C): o | q | k | v | g, contiguous
  const void* table;       // of T tokens and d = C / H
  void *keys, *values;     // (B, T, C) in dtype, contiguous
  void* carries;           // recurrence_carries() bytes for backward, or null
  // Of sequences that go on, (B, 2, C) in f32 (f64 for f64): the states of k~ and v~ before and after; each has
  // counts[b] tokens of T, and a table of its own.
  const void* initial = nullptr;
  void* last = nullptr;
  const int64_t* counts = nullptr;
  int64_t table_batch_stride = 0;
};
void recurrence_stage_forward(const RecurrenceStageArgs& args, Stream stream);

/// Bytes of the states that the forward stage notes for the backward one: of k~ and v~ before every few tokens, in f32
/// (f64 for f64). A twentieth of the projection in bf16.
size_t recurrence_carries(int64_t B, int64_t T, int64_t C, DType dtype);

/// Where attention left out the gradients of keys that none but their own query sees (AttentionBackwardArgs::own): with
/// these the stage makes them of the queries in the projection and the attention's gradient.
struct OwnTermsOfKeys {
  OwnFactors factors;
  const void* grad_attention = nullptr;  // (B, T, C) in dtype, contiguous
  const Pattern* patterns = nullptr;     // on the host, H of them
};
/// bf16, halves of heads that begin at multiples of 16 bytes, 64 or 128 channels a head, no more heads than this.
inline constexpr int64_t kMostHeadsOfOwnTerms = 64;

/// Writes the parts k, v and g of grad_projection, and touches no other.
struct RecurrenceStageBackwardArgs {
  int64_t B, T, C, H;
  DType dtype;
  const void* projection;
  const void* table;
  const void* carries;                  // of the forward stage on the same projection
  const void *grad_keys, *grad_values;  // (B, T, C) in dtype, contiguous: of the rotated keys, of the values
  void* grad_projection;                // (B, T, 5C), contiguous
  OwnTermsOfKeys own = {};
};
void recurrence_stage_backward(const RecurrenceStageBackwardArgs& args, Stream stream);

}  // namespace ratel::cuda
