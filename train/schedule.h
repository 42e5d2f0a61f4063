#pragma once

#include <cstdint>

namespace ratel::train {

/// Linear warm-up over the first int(warmup_fraction total) steps, then a cosine from `peak` to `floor`.
///   step  counts from 0 to total - 1
/// Throws Error for a step outside that range. Source: RAT+, arXiv 2602.18196, and its training code.
double learning_rate(int64_t step, int64_t total, double peak, double warmup_fraction, double floor);

}  // namespace ratel::train
