#pragma once

#include <cstdint>

#include "models/rat_plus.h"

namespace ratel::train {

/// Floating-point operations that training on one sequence of T tokens through a pattern needs, forward and backward: a
/// multiplication and an addition are two, and backward is twice forward.
///
///   3 * (2 T P + 4 d K)
///     P  entries of the matrices that every token is multiplied with: all projections and the head, not the embedding
///     K  keys seen, summed over queries, heads and layers: q.k and a v are 2 d each
///
/// The recurrence, norms, softmax and the optimizer are not counted, and neither is what recompute computes twice: it
/// is the numerator of MFU (PaLM, arXiv 2204.02311, appendix B), with the keys of the pattern in place of all.
/// Throws Error where the pattern does not fit.
double training_flops(const RatPlusConfig& config, const ModelPattern& pattern, int64_t T);

}  // namespace ratel::train
