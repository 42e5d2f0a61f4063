#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/device_graph.h"
#include "models/rat_plus.h"
#include "train/batch_feed.h"
#include "train/optimizer.h"

namespace ratel::train {

/// One optimizer step: forward and backward of the parts of a batch, through one pattern or, for the sum of their
/// losses, through several, and AdamW with what they add up to. The parameters have no gradients before and behind it,
/// whether it succeeds or throws.
///
/// Launched, or recorded as a DeviceGraph, which makes the same kernels run. Its stages are, for each pattern, the
/// first part and all others, and then AdamW: the first part of all makes the gradients, those behind it add to them,
/// AdamW frees them. So they share their memory with what the forward pass computes, and graphs do not grow with the
/// number of parts. A part is copied to where a stage reads it, and its loss from where it leaves it.
class Update {
 public:
  /// Keeps references to model and optimizer. `losses`, (patterns, parts) f64, receives the losses of all parts; it and
  /// `outcome` are handed to Optimizer::step.
  Update(const RatPlus& model, Optimizer& optimizer, std::vector<ModelPattern> patterns, Recompute recompute,
         Tensor losses, Tensor outcome);

  /// Makes it of as many parts as `losses` has columns, at the optimizer's rate. On a GPU nothing waits for the host.
  void run(std::span<const BatchPart> parts);
  /// Records it, for parts like this one, after run() was called at least once, as libraries set themselves up at their
  /// first calls. Where it throws, nothing is recorded. Which parameters want gradients is decided here: later runs
  /// give them to the same ones.
  void record(const BatchPart& like);
  [[nodiscard]] bool is_recorded() const { return graph_ != nullptr; }

 private:
  /// Adds the gradient of share * loss to the parameters'.
  void add(const BatchPart& part, const ModelPattern& pattern, const Tensor& loss) const;
  void finish() const;
  [[nodiscard]] Tensor loss_of(size_t pattern, size_t part) const;

  const RatPlus* model_;
  Optimizer* optimizer_;
  std::vector<ModelPattern> patterns_;
  Recompute recompute_;
  Tensor losses_, outcome_;
  BatchPart in_;  // what stages read
  Tensor loss_;   // and where they leave a part's loss
  std::unique_ptr<DeviceGraph> graph_;
};

}  // namespace ratel::train
