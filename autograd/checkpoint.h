#pragma once

#include <functional>
#include <vector>

#include "core/tensor.h"

namespace ratel {

/// Runs f(inputs) without recording it and runs it again during backward ("activation checkpointing"): what f computes
/// inside costs memory only then. Gradients reach the inputs, and every leaf f captures (a layer's parameters).
///
/// f must compute the same thing twice: take an Rng by value, count nothing. Nesting is allowed.
Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& f, const std::vector<Tensor>& inputs);

}  // namespace ratel
