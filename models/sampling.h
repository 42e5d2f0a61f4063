#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ratel {

/// How the next token is drawn from its logits. In this order: the penalty, the temperature, then the cuts.
struct SamplingOptions {
  double temperature = 0;         ///< 0: the largest logit, the lowest id of several
  int64_t top_k = 0;              ///< draw among the k most probable tokens; 0: among all
  double top_p = 1;               ///< of those, among the fewest whose probabilities add up to this share; 1: all
  double min_p = 0;               ///< of those, among the ones at least this times as probable as the first; 0: all
  double repetition_penalty = 1;  ///< of every token that the text holds: a positive logit is divided by it, a negative
                                  ///< one multiplied (CTRL, arXiv 1909.05858); 1: none
  uint64_t seed = 0;

  /// Throws Error naming the first option that is out of its range.
  void validate() const;
};

struct TokenProbability {
  int64_t id;
  double probability;
};

/// Which random number decides: every text of a seed has a stream of its own, with one number a token.
struct Draw {
  uint64_t step = 0;    ///< the new tokens before this one
  uint64_t stream = 0;  ///< the number of the text
};

/// The tokens that may be drawn after `text` (prompt included; only the penalty asks), most probable first (the lower
/// id first where equal), with probabilities that add up to 1: softmax(penalised logits / temperature) cut by top_k,
/// then top_p, then min_p, in f64. Temperature 0 leaves one token.
/// Throws Error for invalid options and for a token of the text that has no logit, and Error (numerical) where the
/// logits hold a NaN or +inf, or nothing but -inf.
std::vector<TokenProbability> sampling_distribution(std::span<const double> logits, const SamplingOptions& options,
                                                    std::span<const int64_t> text = {});

/// The next token: a function of the arguments, whatever was drawn before. Throws as sampling_distribution does.
int64_t sample_token(std::span<const double> logits, const SamplingOptions& options, const Draw& draw,
                     std::span<const int64_t> text = {});

/// ln softmax(logits)[token] in f64: how probable the model itself holds a token, before penalty, temperature and cuts.
/// Throws Error for a token without a logit, and Error (numerical) as above.
double log_probability(std::span<const double> logits, int64_t token);

}  // namespace ratel
