#pragma once

#include "core/tensor.h"
#include "ops/cross_entropy.h"

namespace ratel {

/// Output head and mean cross-entropy in one:  cross_entropy(matmul_nt(x, weight), labels),  without the logits of all
/// tokens at once. They are made a chunk of tokens at a time and become their own gradient in place, from which x's and
/// weight's are taken at once; backward only multiplies these by the loss's gradient.
///
///   x        (..., C)  f64 | f32 | bf16, any layout
///   weight   (V, C)    the same dtype
///   labels   (...)     i64 | i32, kIgnoreIndex not counted
///   chunk    tokens at a time; 0: as many as make 2^28 logits. Cuts the sum that is weight's gradient
///   returns  rank 0, f32 (f64 for f64)
///
/// Gradients: x, and weight summed in f32 for bf16. Where neither is wanted, none is computed. Deterministic.
/// Throws Error as cross_entropy does, and where x and weight do not fit.
Tensor head_loss(const Tensor& x, const Tensor& weight, const Tensor& labels, int64_t chunk = 0);
/// The same for labels that the caller checked and counted: nothing waits for the host, and it may be part of a graph.
Tensor head_loss(const Tensor& x, const Tensor& weight, const CountedLabels& counted, int64_t chunk = 0);

/// The definition: the two ops above.
Tensor head_loss_reference(const Tensor& x, const Tensor& weight, const Tensor& labels);

}  // namespace ratel
