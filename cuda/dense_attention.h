#pragma once

#include <string>

#include "cuda/attention.h"

namespace ratel::cuda::dense {

/// What cuDNN is asked for, unless the choice is DenseAttention::own: bf16, d a multiple of 8 up to 128, T >= 2, every
/// query of every head sees all keys up to itself, rows begin at multiples of 16 bytes and no operand reaches over 2^31
/// elements; backward, no gradient of lse.
bool takes(const AttentionForwardArgs& args);
bool takes(const AttentionBackwardArgs& args);

/// Computes args (out and lse; neither gate nor gated) by cuDNN and returns true; or false, where takes() says no, and
/// where cuDNN could not: it is not there, has no deterministic plan for these sizes on this GPU, has made plans for 16
/// others, which takes about a second each. That is decided at the first call of these sizes; any call that has no room
/// to work in is ours too, and the next one asks again. Where it returns false the results may be written in part.
/// While a graph is recorded nothing new is decided: sizes that never ran before are not taken. Throws Error where
/// cuDNN fails later.
bool forward(const AttentionForwardArgs& args, Stream stream);
bool backward(const AttentionBackwardArgs& args, Stream stream);

/// The cuDNN of this program, "9.19.0", or why there is none.
std::string library_version();

}  // namespace ratel::cuda::dense
