#pragma once

#include <memory>

#include "core/device_graph.h"
#include "models/rat_plus.h"
#include "train/batch_feed.h"

namespace ratel::train {

/// How work reaches a GPU: each kernel by a call of its own, or all of them recorded once as a DeviceGraph.
enum class Launches { each, recorded };

/// Forward and backward of a part of a batch through one pattern.
///
/// Recorded, every part is first copied to where the graph reads it, and its loss from where the graph leaves it; the
/// gradients it adds to are those that the parameters had when it was recorded. All else that a part needs is the
/// graph's own memory. Several of one device share it where they run in one stream.
class PartGradient {
 public:
  /// Keeps a reference to the model.
  PartGradient(const RatPlus& model, ModelPattern pattern, Recompute recompute, Launches launches);

  /// Adds the gradient of share * loss to the parameters', and writes the loss, rank 0 f64. Nothing waits for the host.
  void add(const BatchPart& part, const Tensor& loss);
  /// Makes a graph of it, after add() was called at least once, as libraries set themselves up at their first calls,
  /// and while all parameters have gradients.
  void record();
  /// Launches again.
  void forget_recording() { graph_.reset(); }

 private:
  void compute(const BatchPart& part, const Tensor& loss) const;

  const RatPlus* model_;
  ModelPattern pattern_;
  Recompute recompute_;
  Launches launches_;
  BatchPart in_;  // what the graph reads
  Tensor loss_;
  std::unique_ptr<DeviceGraph> graph_;
};

}  // namespace ratel::train
