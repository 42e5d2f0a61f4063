#pragma once

#include <cstdint>

#include "models/rat_plus.h"

namespace ratel::train {

/// A batch, or the part of it that is computed at once.
struct ComputedBatch {
  int64_t sequences, T;
  int64_t parts = 1;  ///< whose gradients are added up
  Recompute recompute = Recompute::nothing;
};

// What training needs of memory at least, counted before any of it is taken: no number is above 2 kMostBytes
// (core/free_memory.h), however large the sizes are.

/// Bytes that are kept of all parameters: weights, which in bf16 are rounded from f32 masters, gradients and both
/// moments in f32 (f64 for f64).
int64_t parameter_bytes(int64_t parameters, DType dtype);

/// Bytes that a step holds at once: parameters, and what a batch leaves for its backward, of every layer and token both
/// inputs, both norms, the projection, what is mixed, and the hidden layer before and after GELU; of blocks that are
/// computed again the input, and one block's at a time. Gradients of a single part come as that goes; those of several
/// stand beside it.
int64_t step_bytes(const RatPlusConfig& config, const ComputedBatch& part, DType dtype);

}  // namespace ratel::train
