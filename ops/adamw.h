#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "core/stream.h"
#include "core/tensor.h"

namespace ratel {

/// One AdamW step on one parameter, in place:
///   p <- p (1 - rate decay);  m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
///   p <- p - rate / (1 - beta1^step)  m / (sqrt(v) / sqrt(1 - beta2^step) + eps)        with g = grad_scale * grad
///
///   parameter, m, v  one shape, contiguous; m and v f32 (f64 for an f64 parameter); parameter f32 or f64
///   grad             the same shape and dtype as m
///   step             counts from 1
///
/// Not on the tape; counts as a change of parameter, m and v. Deterministic.
/// Throws Error where shapes or dtypes do not fit.
/// Source: Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv 1711.05101.
struct AdamWStep {
  double rate, beta1, beta2, eps, decay;
  int64_t step;
  double grad_scale = 1;  ///< of clipped_adamw's gradients, too: the norm, however, is of them as they are given
};
void adamw(const Tensor& parameter, const Tensor& grad, const Tensor& m, const Tensor& v, const AdamWStep& step);

/// What a parameter's rate and decay are of those of the step: finite, 0 or more.
struct AdamWScale {
  double rate = 1, decay = 1;
};
/// Throws Error "whose: ..." for others.
void check_scale(const AdamWScale& scale, std::string_view whose);
/// A parameter of clipped_adamw: as adamw's, and a bf16 leaf of its shape that receives the rounded parameter, or an
/// undefined tensor.
struct AdamWParameter {
  Tensor parameter, grad, m, v, copy;
  AdamWScale scale = {};
};
/// What decides about an update and tells of it, all on the parameters' device.
///
///   rate      rank 0, f64: the step's rate, so that a recorded step (core/device_graph.h) may have another every time
///   watched   (n) f64, or undefined: the losses. The update is withheld where one of them is not finite
///   steps     rank 0, i64: how many were made so far; counted up where this one is
///   outcome   (2) f64: becomes the gradients' norm, and 1 where the update was made, else 0
struct AdamWControl {
  Tensor rate, watched, steps, outcome;
};
/// The same step on many parameters of one dtype on one device, after clipping the norm of all gradients together as
/// torch.nn.utils.clip_grad_norm_ does: each is multiplied by clip / (norm + 1e-6) where that is below 1; 0 clips
/// nothing. The norm is summed in f64. Where it is not finite, or a watched number is not, only control.outcome
/// changes. step.rate and step.step are not looked at: the step's number is control.steps + 1. On a GPU nothing waits
/// for the host. Not on the tape. Deterministic. Throws as adamw does.
void clipped_adamw(const std::vector<AdamWParameter>& parameters, const AdamWStep& step, double clip,
                   const AdamWControl& control);

inline constexpr double kClipEps = 1e-6;  // of torch.nn.utils.clip_grad_norm_

struct AdamWItem {
  int64_t n;
  void *parameter, *m, *v;
  const void* grad;
  void* copy;  // bf16, or null
  AdamWScale scale;
};
struct AdamWArgs {
  DType dtype;
  std::span<const AdamWItem> items;
  AdamWStep step;
};
struct AdamWControlArgs {
  const double* rate;
  int64_t watched_count;
  const double* watched;
  int64_t* steps;
  double* outcome;
  double clip;
};
namespace cpu {
void adamw(const AdamWArgs& args);
}  // namespace cpu
namespace cuda {
void adamw(const AdamWArgs& args, Stream stream);
void clipped_adamw(const AdamWArgs& args, const AdamWControlArgs& control, Stream stream);
}  // namespace cuda

}  // namespace ratel
