#pragma once

#include <map>
#include <string>
#include <vector>

#include "ops/recurrent_attention.h"

namespace ratel::test {

/// RAT+ written from the ops' composed references alone: what the fused model is measured against in low precision.

using Weights = std::map<std::string, Tensor>;  ///< by the paths of the model's parameter store

/// One layer, x (B, T, C) -> (B, T, C); its weights are those whose paths start with `prefix` ("layers.0.").
Tensor reference_block(const Tensor& x, const Weights& weights, const std::string& prefix, int64_t heads,
                       const HeadPatterns& patterns, Recurrence recurrence);

/// tokens (B, T) -> logits (B, T, V), as many layers as there are patterns.
Tensor reference_logits(const Tensor& tokens, const Weights& weights, int64_t heads,
                        const std::vector<HeadPatterns>& layers, Recurrence recurrence);

}  // namespace ratel::test
