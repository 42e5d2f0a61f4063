#include "train/flops.h"

namespace ratel::train {
namespace {

double keys_seen(const Pattern& pattern, int64_t T) {
  double keys = 0;
  for (int64_t t = 1; t <= T; ++t) keys += static_cast<double>(visible_keys(pattern, t));
  return keys;
}

/// Of all heads of a layer.
double keys_seen(const HeadPatterns& heads, int64_t count, int64_t T) {
  double keys = 0;
  for (const Pattern& head : heads) keys += keys_seen(head, T);
  return heads.size() == 1 ? keys * static_cast<double>(count) : keys;
}

}  // namespace

double training_flops(const RatPlusConfig& config, const ModelPattern& pattern, int64_t T) {
  pattern.check_fits(config);
  const ModelPattern distinct = simplified(pattern);
  double keys = 0;
  for (const HeadPatterns& heads : distinct.layers) keys += keys_seen(heads, config.heads, T);
  if (distinct.layers.size() == 1) keys *= static_cast<double>(config.layers);
  const auto norms = static_cast<double>((2 * config.layers + 1) * config.channels);  // vectors, not matrices
  // The embedding is counted once, as the head that it is tied to.
  const double matrices = static_cast<double>(config.parameter_count()) - norms;
  const int64_t d = config.channels / config.heads;
  return 3 * (2 * static_cast<double>(T) * matrices + 4 * static_cast<double>(d) * keys);
}

}  // namespace ratel::train
