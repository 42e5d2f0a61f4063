#pragma once

#include <memory>
#include <span>

#include "core/device_graph.h"
#include "models/kv_cache.h"

namespace ratel {

/// next_logits() of one token a sequence, again and again, for one model and one cache: the same numbers, bit for bit.
/// On a GPU a step is one graph, recorded at the first; tokens and positions are copied to where it reads them, at
/// once. The cache may be used otherwise between steps: extended, reset, read.
///
///   Decoder decoder(model, cache);            // both must outlive it and stay where they are
///   Tensor logits = decoder(tokens);          // (B, V); the next step overwrites it
class Decoder {
 public:
  Decoder(const RatPlus& model, KvCache& cache);

  /// counts[b] is 0 or 1; without counts every sequence has its token. Throws as next_logits() does, and before
  /// anything is computed, for a token that is none of the vocabulary.
  const Tensor& operator()(std::span<const int64_t> tokens, std::span<const int64_t> counts = {});

 private:
  /// What a graph holds: everything from the cache's tokens to logits_.
  void step();

  const RatPlus& model_;
  KvCache& cache_;
  Tensor logits_;  // (B, V)
  std::unique_ptr<DeviceGraph> graph_;
};

}  // namespace ratel
