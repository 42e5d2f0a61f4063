#pragma once

#include "core/tensor.h"

namespace ratel {

struct RecurrenceResult {
  Tensor h;     ///< (B, T, C)  dtype of x: the state after every token
  Tensor last;  ///< (B, C)     f32 (f64 for f64): the state after the last one, to be passed on as `initial`
};

/// Gated recurrence along time:  h[t] = g[t] h[t-1] + (1 - g[t]) x[t],  h[-1] = initial.
///
///   gate, x  (B, T, C)  f64 | f32 | bf16, last axis contiguous, T >= 1;  gate in [0, 1]
///   initial  (B, C)     f32 (f64 for f64), any layout; undefined means zeros
///   returns  h and the last state; the state is kept in f32 (f64 for f64) throughout
///
/// A sequence cut in two, the second half starting from the first one's last state, gives the same numbers; on a GPU up
/// to rounding, which cuts long sequences itself where there are few channels.
/// Gradients: gate, x, initial, from both outputs. Deterministic on every device.
/// Throws Error where shapes, dtypes or devices disagree, or the last axis of gate or x is not contiguous.
/// Source: RAT+, arXiv 2602.18196, section 3; derivation in docs/derivations/gated_recurrence.md.
RecurrenceResult gated_recurrence(const Tensor& gate, const Tensor& x, const Tensor& initial = {});

/// The same, composed from slice, mul, add and stack: the definition, and the oracle for every kernel. Slow.
RecurrenceResult gated_recurrence_reference(const Tensor& gate, const Tensor& x, const Tensor& initial = {});

/// Strides in elements: token t of batch b starts at b * batch_stride + t * time_stride. h and last are contiguous.
struct GatedRecurrenceArgs {
  int64_t B, T, C;
  DType dtype;
  const void *gate, *x;
  int64_t gate_batch_stride, gate_time_stride, x_batch_stride, x_time_stride;
  const void* initial;  // may be null
  void *h, *last;
  void* carries = nullptr;  // on a GPU: gated_recurrence_carries() numbers for backward, or null
};
/// grad_h and grad_last may be null; the results are contiguous and may be null where nobody wants them.
struct GatedRecurrenceBackwardArgs {
  int64_t B, T, C;
  DType dtype;
  const void *gate, *x;
  int64_t gate_batch_stride, gate_time_stride, x_batch_stride, x_time_stride;
  const void* initial;  // may be null
  const void *grad_h, *grad_last;
  void *grad_gate, *grad_x, *grad_initial;
  const void* carries = nullptr;  // on a GPU: what forward left
};
namespace cpu {
void gated_recurrence_forward(const GatedRecurrenceArgs& args);
void gated_recurrence_backward(const GatedRecurrenceBackwardArgs& args);
}  // namespace cpu
namespace cuda {
void gated_recurrence_forward(const GatedRecurrenceArgs& args, Stream stream);
void gated_recurrence_backward(const GatedRecurrenceBackwardArgs& args, Stream stream);
/// States that forward notes for backward, in numbers of accumulate_dtype(dtype).
int64_t gated_recurrence_carries(int64_t B, int64_t T, int64_t C, DType dtype);
}  // namespace cuda

}  // namespace ratel
