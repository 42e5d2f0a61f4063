#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ratel {

/// How the next token is drawn from its logits.
struct SamplingOptions {
  double temperature = 0;  ///< 0: the largest logit, the lowest id of several
  int64_t top_k = 0;       ///< draw among the k most probable tokens; 0: among all
  double top_p = 1;        ///< of those, among the fewest whose probabilities add up to this share; 1: all
  uint64_t seed = 0;

  /// Throws Error naming the first option that is out of its range.
  void validate() const;
};

struct TokenProbability {
  int64_t id;
  double probability;
};

/// The tokens that may be drawn, most probable first (the lower id first where equal), with probabilities that add up
/// to 1: softmax(logits / temperature) cut by top_k, then by top_p, in f64. Temperature 0 leaves one token.
/// Throws Error for invalid options, and Error (numerical) where the logits hold a NaN or +inf, or nothing but -inf.
std::vector<TokenProbability> sampling_distribution(std::span<const double> logits, const SamplingOptions& options);

/// The token number `step` of a text: a function of (logits, options, step), whatever was drawn before.
/// Throws as sampling_distribution does.
int64_t sample_token(std::span<const double> logits, const SamplingOptions& options, uint64_t step);

}  // namespace ratel
