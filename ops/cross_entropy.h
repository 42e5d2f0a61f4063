#pragma once

#include "core/stream.h"
#include "core/tensor.h"

namespace ratel {

/// Labels of this value do not count.
inline constexpr int64_t kIgnoreIndex = -100;

/// Mean cross-entropy in nats from logits, over the labels that are not kIgnoreIndex.
///
///   logits   (..., V)  f64 | f32 | bf16, any layout
///   labels   (...)     i64 | i32
///   returns  rank 0, f32 (f64 for f64): mean of  log sum_v exp(logits[v]) - logits[label]
///
/// Gradient: logits. Deterministic. Where every label is ignored the loss is 0 and so is the gradient.
/// Throws Error where shapes do not fit, or for a label that is neither in [0, V) nor ignored, naming it.
/// Source: -log of the softmax at the label, in nats; ignored labels as in RAT+, arXiv 2602.18196.
Tensor cross_entropy(const Tensor& logits, const Tensor& labels);

/// The same, composed from log_softmax and a one-hot mask.
Tensor cross_entropy_reference(const Tensor& logits, const Tensor& labels);

/// Loss of every position on its own, (...) f32 (f64 for f64), 0 where the label is ignored. Not differentiable.
Tensor token_losses(const Tensor& logits, const Tensor& labels);

/// For ops that end in a cross-entropy. Labels as contiguous (n) i64 on `device`, checked to be in [0, V) or ignored,
/// and how many are not ignored.
struct CountedLabels {
  Tensor labels;
  int64_t counted = 0;
  /// What a label weighs in the mean; 0 where none counts.
  [[nodiscard]] double share() const { return counted == 0 ? 0.0 : 1.0 / static_cast<double>(counted); }
};
CountedLabels count_labels(const char* op, const Tensor& labels, int64_t V, Device device);
/// The losses (n) of contiguous logits (n, V), off the tape. With `gradient`, the logits become share times the
/// gradient of the losses' sum.
enum class LogitsBecome { nothing, gradient };
Tensor take_losses(const Tensor& logits, const Tensor& labels, double share, LogitsBecome what);

/// loss (rows) per position; kept (rows, 2) for backward: the row's maximum m, and sum_v exp(logits[v] - m). Apart,
/// because m + log of the sum, rounded, would cost large logits their gradient. Both f32 (f64 for f64).
struct CrossEntropyArgs {
  int64_t rows, V;
  DType dtype;
  const void* logits;
  const int64_t* labels;
  void *loss, *kept;
};
/// grad_logits[r, v] = scale (softmax(logits[r])[v] - [v == label]), 0 for ignored rows, with scale = share * grad and
/// grad the one element of the loss's gradient, f32 (f64 for f64). grad_logits may be logits itself.
struct CrossEntropyBackwardArgs {
  int64_t rows, V;
  DType dtype;
  const void* logits;
  const int64_t* labels;
  const void* kept;
  void* grad_logits;
  const void* grad;
  double share;
};
namespace cpu {
void cross_entropy_forward(const CrossEntropyArgs& args);
void cross_entropy_backward(const CrossEntropyBackwardArgs& args);
}  // namespace cpu
namespace cuda {
void cross_entropy_forward(const CrossEntropyArgs& args, Stream stream);
void cross_entropy_backward(const CrossEntropyBackwardArgs& args, Stream stream);
}  // namespace cuda

}  // namespace ratel
