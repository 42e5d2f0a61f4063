#pragma once

#include <functional>
#include <vector>

#include "core/tensor.h"

namespace ratel {

/// Runs f(inputs) without recording it and runs it again during backward ("activation checkpointing"): what f computes
/// inside costs memory only then. Gradients reach the inputs, and what f captures: a layer's parameters, and what ops
/// made before. Nesting is allowed.
///
/// f must compute the same thing twice. Every run is one of a fresh copy of f, as it was given: an Rng that a mutable
/// lambda captured by value draws the same numbers again. What f holds by reference must not have changed meanwhile,
/// nor a tensor it captures been written to: backward throws where an input was, and cannot tell of what is captured.
Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& f, const std::vector<Tensor>& inputs);

}  // namespace ratel
