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

struct MoreProbable {
  std::span<const double> logits;
  bool operator()(int64_t a, int64_t b) const {
    const double x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  }
};

/// The tokens that may be drawn by their rank, the most probable first (the lower id first where equal). They are put
/// into order only as far as somebody asks: of a vocabulary of many thousands a draw looks at the first few.
class Ranking {
 public:
  Ranking(std::span<const double> logits, const SamplingOptions& options)
      : logits_(logits), more_probable_{logits}, temperature_(options.temperature), ids_(logits.size()) {
    std::iota(ids_.begin(), ids_.end(), int64_t{0});
    if (options.temperature == 0) {
      ids_ = {*std::min_element(ids_.begin(), ids_.end(), more_probable_)};
      temperature_ = 1;  // of one token: any will do
    }
    if (options.top_k > 0 && options.top_k < static_cast<int64_t>(ids_.size())) {
      order(static_cast<size_t>(options.top_k));
      ids_.resize(ordered_ = static_cast<size_t>(options.top_k));
    }
    largest_ = *std::max_element(logits.begin(), logits.end());  // it is always among them
    for (const int64_t id : ids_) {
      const double share = weight(id);
      total_ += share;
      size_ += share > 0 ? 1 : 0;
    }
    if (options.top_p < 1) {
      double kept = 0;
      size_t count = 0;
      for (; count < size_ && kept < options.top_p * total_; ++count) kept += weight(id_at(count));
      size_ = count;
      total_ = kept;
    }
  }

  [[nodiscard]] size_t size() const { return size_; }
  TokenProbability operator[](size_t rank) { return {id_at(rank), weight(id_at(rank)) / total_}; }

 private:
  [[nodiscard]] double weight(int64_t id) const {
    return std::exp((logits_[static_cast<size_t>(id)] - largest_) / temperature_);
  }
  int64_t id_at(size_t rank) {
    order(rank + 1);
    return ids_[rank];
  }

  /// Puts at least the first `count` ids into order; twice as many as the last time, so that all of them cost one sort.
  void order(size_t count) {
    if (count <= ordered_) return;
    const size_t reach = std::min(std::max({count, 2 * ordered_, size_t{64}}), ids_.size());
    const auto first = ids_.begin() + static_cast<std::ptrdiff_t>(ordered_);
    const auto last = ids_.begin() + static_cast<std::ptrdiff_t>(reach);
    std::nth_element(first, last, ids_.end(), more_probable_);
    std::sort(first, last, more_probable_);
    ordered_ = reach;
  }

  std::span<const double> logits_;
  MoreProbable more_probable_;
  double temperature_, largest_ = 0, total_ = 0;
  std::vector<int64_t> ids_;
  size_t ordered_ = 0, size_ = 0;
};

Ranking ranked(std::span<const double> logits, const SamplingOptions& options) {
  options.validate();
  check_logits(logits);
  return {logits, options};
}

}  // namespace

void SamplingOptions::validate() const {
  check(std::isfinite(temperature) && temperature >= 0, "sampling: expected temperature 0 or more, found ",
        temperature);
  check(top_k >= 0, "sampling: expected top_k 0 or more, found ", top_k);
  check(top_p > 0 && top_p <= 1, "sampling: expected top_p above 0 and at most 1, found ", top_p);
}

std::vector<TokenProbability> sampling_distribution(std::span<const double> logits, const SamplingOptions& options) {
  Ranking ranking = ranked(logits, options);
  std::vector<TokenProbability> tokens;
  for (size_t rank = 0; rank < ranking.size(); ++rank) tokens.push_back(ranking[rank]);
  return tokens;
}

int64_t sample_token(std::span<const double> logits, const SamplingOptions& options, uint64_t step) {
  Ranking ranking = ranked(logits, options);
  const double drawn = Rng(options.seed).uniform_at(step);
  double reached = 0;
  for (size_t rank = 0; rank < ranking.size(); ++rank)
    if ((reached += ranking[rank].probability) > drawn) return ranking[rank].id;
  return ranking[ranking.size() - 1].id;  // the sum fell short of 1 by rounding
}

}  // namespace ratel
