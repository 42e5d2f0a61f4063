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

/// Labels for ops that end in a cross-entropy, checked and counted before them.
///
///   labels  (...)   i64, contiguous: each in [0, V) or kIgnoreIndex
///   share   rank 0  f64, on the labels' device: what a label weighs in the mean, label_share() of those not ignored
///
/// count_labels() makes them from any labels, for which those on a GPU are copied back and waited for. Whoever makes
/// one otherwise, as the reader of a batch does on the host, answers for both: kernels index by labels without a look.
struct CountedLabels {
  Tensor labels, share;
};
inline double label_share(int64_t counted) { return counted == 0 ? 0.0 : 1.0 / static_cast<double>(counted); }
CountedLabels count_labels(const char* op, const Tensor& labels, int64_t V, Device device);
/// The losses (n) of contiguous logits (n, V) at labels (n), off the tape. With `gradient`, the logits become share
/// (rank 0, f64) times the gradient of the losses' sum.
enum class LogitsBecome { nothing, gradient };
Tensor take_losses(const Tensor& logits, const Tensor& labels, const Tensor& share, LogitsBecome what);

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
/// grad the one element of the loss's gradient, f32 (f64 for f64); both are read by the kernel. grad_logits may be
/// logits itself.
struct CrossEntropyBackwardArgs {
  int64_t rows, V;
  DType dtype;
  const void* logits;
  const int64_t* labels;
  const void* kept;
  void* grad_logits;
  const void* grad;
  const double* share;
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
