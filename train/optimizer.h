#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "nn/param_store.h"
#include "ops/adamw.h"
#include "train/config.h"

namespace ratel::train {

/// What became of one optimizer step.
struct UpdateResult {
  double grad_norm = 0;  ///< over all parameters that are trained, before clipping
  bool applied = false;  ///< false where the norm is not finite: nothing changed then
};

/// What a model of that dtype is trained in: weights and moments in f32, or f64 for f64.
inline DType master_dtype(DType compute) { return accumulate_dtype(compute); }

/// AdamW over all parameters of a store, after clipping the norm of their gradients together as
/// torch.nn.utils.clip_grad_norm_ does: by clip / (norm + 1e-6), where that is below 1. Parameters without a gradient
/// keep their values and moments, as do those that want none. Deterministic.
class Optimizer {
 public:
  /// What a parameter's rate and weight decay are of those that are set; called once for each:
  ///   [](const NamedTensor& p) { return AdamWScale{.decay = p.tensor.rank() < 2 ? 0.0 : 1.0}; }
  using ScaleOf = std::function<AdamWScale(const NamedTensor& parameter)>;

  /// Moments start as zeros, in f32 (f64 for f64 parameters) on the parameters' device. Handles are kept, so that the
  /// store may go, and what is added to it later is not trained. Throws Error for a store without parameters, for one
  /// of bf16, which takes masters, and for options that a TrainConfig may not have.
  Optimizer(const nn::ParamStore& parameters, const TrainConfig::Optimizer& options, const ScaleOf& scale_of = {})
      : Optimizer(parameters, parameters, options, scale_of) {}
  /// The model computes with `copies`, bf16 parameters of the same paths, which hold the gradients; `parameters` are
  /// their f32 masters, which are trained and saved. They are rounded into the copies here, and by every step those
  /// that it changed. Throws Error where the two do not match, in paths, shapes, dtypes or devices.
  Optimizer(const nn::ParamStore& parameters, const nn::ParamStore& copies, const TrainConfig::Optimizer& options,
            const ScaleOf& scale_of = {});

  /// One step with the gradients the parameters hold; they stay.
  UpdateResult step(double rate);
  /// The same at the rate that was set, without waiting for it on a GPU, where it may be recorded
  /// (core/device_graph.h): withheld also where one of `losses`, (n) f64, is not finite. `outcome`, (2) f64 on the
  /// parameters' device, becomes the gradients' norm, and 1 where the step was applied, else 0.
  void step(const Tensor& losses, const Tensor& outcome);
  /// 0 until set. Throws Error for a rate that is not finite. Steps that are in the stream already keep theirs.
  void set_rate(double rate);
  /// That a recorded step ran again: counts as a change of what it writes of the optimizer's and of the parameters that
  /// want a gradient, as step() itself does.
  void note_recorded_step() const;
  /// Rounds the parameters into the copies: after the parameters were changed by others than step(), load() of their
  /// store among them.
  void update_copies() const;
  /// Forgets the gradients of all parameters.
  void zero_grad() const;
  /// Steps applied so far, which the moments' bias correction needs. Waits for the last one.
  [[nodiscard]] int64_t steps() const { return static_cast<int64_t>(steps_.item()); }

  /// The moments: "m.PATH" and "v.PATH" for every parameter.
  [[nodiscard]] const std::vector<NamedTensor>& state() const { return moments_.parameters(); }
  /// Puts moments and count back. Throws Error(input) that lists what is missing, unexpected or misshaped in `source`.
  void load(const std::vector<NamedTensor>& state, int64_t steps, std::string_view source);

 private:
  [[nodiscard]] bool trains(size_t i) const;  // whether the i-th parameter and its copy want a gradient

  std::vector<NamedTensor> parameters_;
  std::vector<AdamWScale> scales_;
  std::vector<NamedTensor> copies_;  // the parameters themselves where the model computes with them
  nn::ParamStore moments_;
  TrainConfig::Optimizer options_;
  Tensor steps_;  // rank 0, i64, on the parameters' device: whether a step is applied is decided there
  Tensor rate_;   // rank 0, f64, there too: a recorded step reads it
};

}  // namespace ratel::train
