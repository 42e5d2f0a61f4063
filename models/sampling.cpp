#include "models/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"

namespace ratel {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void check_logits(std::span<const double> logits) {
  double largest = -kInfinity;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (std::isnan(logits[id]) || logits[id] == kInfinity)
      throw Error(concat_text("sampling: the logit of token ", id, " is ", logits[id]), ErrorKind::numerical);
    largest = std::max(largest, logits[id]);
  }
  if (largest == -kInfinity) throw Error("sampling: no token has a finite logit", ErrorKind::numerical);
}

}  // namespace

void SamplingOptions::validate() const {
  check(std::isfinite(temperature) && temperature >= 0, "sampling: expected temperature 0 or more, found ",
        temperature);
  check(top_k >= 0, "sampling: expected top_k 0 or more, found ", top_k);
  check(top_p > 0 && top_p <= 1, "sampling: expected top_p above 0 and at most 1, found ", top_p);
}

std::vector<TokenProbability> sampling_distribution(std::span<const double> logits, const SamplingOptions& options) {
  options.validate();
  check_logits(logits);
  const auto more_probable = [&](int64_t a, int64_t b) {
    const double x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::vector<int64_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), int64_t{0});
  if (options.temperature == 0) return {{*std::min_element(ids.begin(), ids.end(), more_probable), 1.0}};

  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(ids.size())) {
    std::nth_element(ids.begin(), ids.begin() + options.top_k, ids.end(), more_probable);
    ids.resize(static_cast<size_t>(options.top_k));
  }
  std::sort(ids.begin(), ids.end(), more_probable);

  const double largest = logits[static_cast<size_t>(ids.front())];
  std::vector<TokenProbability> tokens;
  double total = 0;
  for (const int64_t id : ids) {
    const double weight = std::exp((logits[static_cast<size_t>(id)] - largest) / options.temperature);
    if (weight == 0) break;  // and so are all after it
    tokens.push_back({id, weight});
    total += weight;
  }
  if (options.top_p < 1) {
    double kept = 0;
    size_t count = 0;
    while (count < tokens.size() && kept < options.top_p * total) kept += tokens[count++].probability;
    tokens.resize(count);
    total = kept;
  }
  for (TokenProbability& token : tokens) token.probability /= total;
  return tokens;
}

int64_t sample_token(std::span<const double> logits, const SamplingOptions& options, uint64_t step) {
  const auto tokens = sampling_distribution(logits, options);
  const double drawn = Rng(options.seed).uniform_at(step);
  double reached = 0;
  for (const auto& [id, probability] : tokens)
    if ((reached += probability) > drawn) return id;
  return tokens.back().id;  // the sum fell short of 1 by rounding
}

}  // namespace ratel
