#pragma once

#include "autograd/engine.h"
#include "core/tensor.h"

namespace ratel {

/// Adds d(loss)/d(leaf) to the gradient of every leaf that wants one; see grad() in autograd/gradient.h.
///
///   loss   made by recorded ops
///   grad   the gradient of something further on with respect to loss, of loss's shape and dtype; it may be left out
///          where loss has one element, and is 1 then
///
/// The tape is freed as it is consumed, so that a second call throws, unless Tape::keep is passed.
/// Throws Error where loss needs no gradient, or grad is missing or does not fit; errors inside name the op.
void backward(const Tensor& loss, const Tensor& grad = {}, Tape tape = Tape::consume);

}  // namespace ratel
