#include "train/training_memory.h"

#include <algorithm>

#include "core/free_memory.h"

namespace ratel::train {
namespace {

int64_t element_bytes(DType dtype) { return static_cast<int64_t>(size_of(dtype)); }

int64_t activation_bytes(const RatPlusConfig& config, const ComputedBatch& part, DType dtype) {
  const int64_t projection = config.recurrence == Recurrence::none ? 4 : 5;
  constexpr int64_t kHidden = 4;
  const int64_t of_a_layer = 2 + 2 + projection + 1 + 2 * kHidden;  // in widths of a token's state
  // Where a block is computed again its input is counted twice: for the gradient that comes into it.
  const int64_t widths =
      part.recompute == Recompute::blocks ? config.layers + of_a_layer : bounded_product({config.layers, of_a_layer});
  return bounded_product({part.sequences, part.T, widths, config.channels, element_bytes(dtype)});
}

}  // namespace

int64_t parameter_bytes(int64_t parameters, DType dtype) {
  const int64_t element = element_bytes(dtype), wide = element_bytes(accumulate_dtype(dtype));
  const int64_t master = element == wide ? 0 : wide;
  return bounded_product({parameters, element + master + 3 * wide});
}

int64_t step_bytes(const RatPlusConfig& config, const ComputedBatch& part, DType dtype) {
  const int64_t parameters = config.parameter_count(), kept = parameter_bytes(parameters, dtype);
  const int64_t gradients = bounded_product({parameters, element_bytes(accumulate_dtype(dtype))});
  const int64_t batch = activation_bytes(config, part, dtype);
  return part.parts > 1 ? kept + batch : std::max(kept, kept - gradients + batch);
}

}  // namespace ratel::train
