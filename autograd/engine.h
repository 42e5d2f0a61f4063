#pragma once

#include <span>

#include "autograd/node.h"

namespace ratel {

/// What backward() leaves of the tape. `keep` lets it run again, at the price of the memory of everything saved.
enum class Tape { consume, keep };

/// The arithmetic the engine needs and, standing below the ops, is given.
struct GradientOps {
  Tensor (*add)(const Tensor& a, const Tensor& b);            // a + b, fresh
  void (*add_in_place)(const Tensor& into, const Tensor& b);  // into += b, converting b's dtype
  Tensor (*contiguous)(const Tensor& x, DType dtype);         // contiguous, of that dtype; x itself where it is both
  Tensor (*clone)(const Tensor& x);                           // a copy that shares nothing with x
};

/// Propagates `grads` from `roots` to every leaf that wants a gradient, and adds them up there.
/// Iterative: ops are visited in falling order of their numbers, each once all its consumers were. Each backward
/// function's result is checked (count, shape, dtype, device); errors name the op. Runs with gradients switched off.
/// Throws Error where a root needs no gradient or part of the tape was consumed before.
/// Inside the backward of another op (recompute) the same GradientOps apply; see run_nested_backward.
void run_backward(std::span<const Tensor> roots, std::span<const Tensor> grads, Tape tape, const GradientOps& ops);

/// For backward functions that build a graph of their own: propagates `grad` from `root` with the GradientOps of the
/// running engine, and returns the gradients of `leaves` in their own dtypes, undefined where none arrived. What
/// reaches ops that were recorded before the running one goes on with the running backward.
/// Throws Error outside a backward function.
Grads run_nested_backward(const Tensor& root, const Tensor& grad, std::span<const Tensor> leaves);

}  // namespace ratel
