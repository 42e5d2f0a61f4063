#include "train/schedule.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace ratel::train {

double learning_rate(int64_t step, int64_t total, double peak, double warmup_fraction, double floor) {
  check(step >= 0 && step < total, "learning_rate: expected a step below ", total, ", found ", step);
  const auto warmup = static_cast<int64_t>(warmup_fraction * static_cast<double>(total));
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double part = static_cast<double>(step - warmup) / static_cast<double>(total - warmup);
  return floor + (peak - floor) * (1 + std::cos(std::numbers::pi * part)) / 2;
}

}  // namespace ratel::train
