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
constexpr double kMostPenalty = 1e6;  // a penalised f32 logit is still finite

void check_logits(std::span<const double> logits) {
  double largest = -kInfinity;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (std::isnan(logits[id]) || logits[id] == kInfinity)
      throw Error(concat_text("sampling: the logit of token ", id, " is ", logits[id]), ErrorKind::numerical);
    largest = std::max(largest, logits[id]);
  }
  if (largest == -kInfinity) throw Error("sampling: no token has a finite logit", ErrorKind::numerical);
}

void check_token(std::span<const double> logits, int64_t token) {
  check(token >= 0 && token < static_cast<int64_t>(logits.size()), "sampling: expected a token from 0 to ",
        static_cast<int64_t>(logits.size()) - 1, ", found ", token);
}

/// The logits, those of the tokens in `text` penalised once.
std::vector<double> penalised(std::span<const double> logits, double penalty, std::span<const int64_t> text) {
  std::vector<double> result(logits.begin(), logits.end());
  for (const int64_t token : text) {
    check_token(logits, token);
    const double logit = logits[static_cast<size_t>(token)];
    result[static_cast<size_t>(token)] = logit > 0 ? logit / penalty : logit * penalty;
  }
  return result;
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
    largest_ = *std::max_element(logits.begin(), logits.end());  // it is always among them, with weight 1
    for (const int64_t id : ids_) {
      const double share = weight(id);
      total_ += share;
      size_ += share > 0 ? 1 : 0;
    }
    if (options.top_p < 1 || options.min_p > 0) cut(options.top_p, options.min_p);
  }

  [[nodiscard]] size_t size() const { return size_; }
  TokenProbability operator[](size_t rank) { return {id_at(rank), weight(id_at(rank)) / total_}; }

 private:
  [[nodiscard]] double weight(int64_t id) const {
    return std::exp((logits_[static_cast<size_t>(id)] - largest_) / temperature_);
  }

  void cut(double top_p, double min_p) {
    const double share = top_p < 1 ? top_p * total_ : kInfinity;
    double kept = 0;
    size_t count = 0;
    for (; count < size_ && kept < share && weight(id_at(count)) >= min_p; ++count) kept += weight(id_at(count));
    size_ = count;
    total_ = kept;
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

/// Calls f with the ranking of what may follow `text`.
template <class F>
auto with_ranking(std::span<const double> logits, const SamplingOptions& options, std::span<const int64_t> text,
                  F&& f) {
  options.validate();
  check_logits(logits);
  std::vector<double> changed;
  if (options.repetition_penalty != 1) {
    logits = changed = penalised(logits, options.repetition_penalty, text);
    check_logits(logits);  // a finite one may have become infinite
  }
  return f(Ranking(logits, options));
}

}  // namespace

void SamplingOptions::validate() const {
  check(std::isfinite(temperature) && temperature >= 0, "sampling: expected temperature 0 or more, found ",
        temperature);
  check(top_k >= 0, "sampling: expected top_k 0 or more, found ", top_k);
  check(top_p > 0 && top_p <= 1, "sampling: expected top_p above 0 and at most 1, found ", top_p);
  check(min_p >= 0 && min_p <= 1, "sampling: expected min_p from 0 to 1, found ", min_p);
  check(repetition_penalty >= 1 / kMostPenalty && repetition_penalty <= kMostPenalty,
        "sampling: expected repetition_penalty from ", 1 / kMostPenalty, " to ", kMostPenalty, ", found ",
        repetition_penalty);
}

std::vector<TokenProbability> sampling_distribution(std::span<const double> logits, const SamplingOptions& options,
                                                    std::span<const int64_t> text) {
  return with_ranking(logits, options, text, [](Ranking ranking) {
    std::vector<TokenProbability> tokens;
    for (size_t rank = 0; rank < ranking.size(); ++rank) tokens.push_back(ranking[rank]);
    return tokens;
  });
}

int64_t sample_token(std::span<const double> logits, const SamplingOptions& options, const Draw& draw,
                     std::span<const int64_t> text) {
  return with_ranking(logits, options, text, [&](Ranking ranking) {
    const double drawn = Rng(options.seed, draw.stream).uniform_at(draw.step);
    double reached = 0;
    for (size_t rank = 0; rank < ranking.size(); ++rank)
      if ((reached += ranking[rank].probability) > drawn) return ranking[rank].id;
    return ranking[ranking.size() - 1].id;  // the sum fell short of 1 by rounding
  });
}

double log_probability(std::span<const double> logits, int64_t token) {
  check_logits(logits);
  check_token(logits, token);
  const double largest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const double logit : logits) total += std::exp(logit - largest);
  return logits[static_cast<size_t>(token)] - largest - std::log(total);
}

}  // namespace ratel
