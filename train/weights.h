#pragma once

#include <cstdint>
#include <optional>

#include "models/rat_plus.h"
#include "train/config.h"
#include "train/optimizer.h"

namespace ratel::train {

/// The parameters of a run: the masters, which are trained and saved, and what the model computes with, which is the
/// same or, in bf16, rounded from them.
class Weights {
 public:
  explicit Weights(const TrainConfig& config)
      : masters_(master_dtype(config.train.dtype), static_cast<uint64_t>(config.train.seed), nn::Start::init,
                 config.device()) {
    if (masters_.dtype() == config.train.dtype) return;
    const RatPlus fills_the_masters(masters_, config.model);
    copies_.emplace(config.train.dtype, 0, nn::Start::empty, config.device());
  }
  /// The store the model is made from.
  nn::ParamStore& computed() { return copies_ ? *copies_ : masters_; }
  nn::ParamStore& masters() { return masters_; }

 private:
  nn::ParamStore masters_;
  std::optional<nn::ParamStore> copies_;
};

}  // namespace ratel::train
