#include "tasks/log_likelihood.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/grad_mode.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/fused_linear.h"
#include "ops/view.h"

namespace ratel::tasks {
namespace {

static_assert(kLengthStep > kFewFusedRows, "fewer rows are another kernel, which rounds in another way");
/// Logits that are there at once: a long continuation of many words would not fit otherwise.
constexpr int64_t kLogits = int64_t{1} << 24;
/// Batches that are sorted by length together. Not all of them, so that what a signal leaves is not the shortest texts.
constexpr size_t kSortedBatches = 64;

int64_t rounded_up(int64_t n) { return (n + kLengthStep - 1) / kLengthStep * kLengthStep; }

/// The tokens of a pair that the model reads: all but the last one, and no more than max_length.
int64_t read_length(const TokenPair& pair, int64_t max_length) {
  const auto all = static_cast<int64_t>(pair.context.size() + pair.continuation.size()) - 1;
  return max_length > 0 ? std::min(all, max_length) : all;
}

void check_arguments(const RatPlus& model, std::span<const TokenPair> pairs, const LogLikelihoodOptions& options) {
  check(options.batch_size >= 1, "log_likelihoods: expected a batch_size of at least 1, found ", options.batch_size);
  check(options.max_length >= 0, "log_likelihoods: expected a max_length of 0 or more, found ", options.max_length);
  options.pattern.check_fits(model.config);
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto& [context, continuation] = pairs[i];
    check(!context.empty() && !continuation.empty(), "log_likelihoods: the ",
          context.empty() ? "context" : "continuation", " of pair ", i, " is empty; it needs at least one token");
    const auto length = static_cast<int64_t>(continuation.size());
    check(options.max_length == 0 || length <= options.max_length, "log_likelihoods: the continuation of pair ", i,
          " has ", length, " tokens; expected at most max_length, ", options.max_length);
    for (const std::vector<int64_t>* part : {&context, &continuation})
      for (const int64_t token : *part)
        check(token >= 0 && token < model.config.vocab_size, "log_likelihoods: pair ", i, " has the token ", token,
              ", expected 0 to ", model.config.vocab_size - 1);
  }
}

/// A batch: pairs that the model reads side by side in rows of T tokens.
class Batch {
 public:
  Batch(const RatPlus& model, std::span<const TokenPair> pairs, std::span<const size_t> chosen, int64_t T,
        const LogLikelihoodOptions& options)
      : model_(model), chosen_(chosen), T_(T), results_(chosen.size()) {
    std::vector<int64_t> tokens(chosen.size() * static_cast<size_t>(T), 0);
    for (size_t row = 0; row < chosen.size(); ++row) {
      const auto& [context, continuation] = pairs[chosen[row]];
      const int64_t length = read_length(pairs[chosen[row]], options.max_length);
      const int64_t last = static_cast<int64_t>(continuation.size()) - 1;  // which the model does not read
      const int64_t of_context = length - last, at = static_cast<int64_t>(row) * T;
      std::copy(context.end() - of_context, context.end(), tokens.begin() + at);
      std::copy(continuation.begin(), continuation.end() - 1, tokens.begin() + at + of_context);
      for (int64_t i = 0; i <= last; ++i) {
        places_.push_back(at + of_context - 1 + i);
        labels_.push_back(continuation[static_cast<size_t>(i)]);
        rows_.push_back(row);
      }
      results_[row] = {0, true, last + 1};
    }
    const auto B = static_cast<int64_t>(chosen.size());
    hidden_ = reshape(model.hidden(from_vector(tokens, {B, T}, DType::i64, model.device()), options.pattern),
                      {B * T, model.config.channels});
  }

  std::vector<LogLikelihood> results() && {
    const int64_t most = std::max(kLengthStep, kLogits / model_.config.vocab_size / kLengthStep * kLengthStep);
    const auto count = static_cast<int64_t>(places_.size());
    for (int64_t begin = 0; begin < count; begin += most) add(begin, std::min(count, begin + most));
    return std::move(results_);
  }

 private:
  /// Adds what the head says at those places. Rows beyond them repeat a place, and nobody looks at what comes out.
  void add(int64_t begin, int64_t end) {
    const int64_t rows = rounded_up(end - begin);
    std::vector<int64_t> places(places_.begin() + begin, places_.begin() + end);
    std::vector<int64_t> labels(labels_.begin() + begin, labels_.begin() + end);
    places.resize(static_cast<size_t>(rows), places.back());
    labels.resize(static_cast<size_t>(rows), kIgnoreIndex);
    const Device device = model_.device();
    const Tensor chosen =
        embedding(hidden_, from_vector(places, {rows}, DType::i64, device), IdCheck::by_caller);  // (rows, C)
    const Tensor logits = model_.embedding.as_head(chosen);                                       // (rows, V)
    const auto losses = to_vector<double>(token_losses(logits, from_vector(labels, {rows}, DType::i64, device)));
    const auto all = to_vector<double>(slice(logits, 0, 0, end - begin));
    const auto V = static_cast<std::ptrdiff_t>(model_.config.vocab_size);
    for (int64_t i = 0; i < end - begin; ++i) {
      const double loss = losses[static_cast<size_t>(i)];
      const size_t pair = rows_[static_cast<size_t>(begin + i)];
      if (!std::isfinite(loss))
        throw TextsError(Error(concat_text("log_likelihoods: the model's probability of a token is not finite: ", loss),
                               ErrorKind::numerical),
                         {chosen_[pair]});
      LogLikelihood& result = results_[pair];
      result.sum -= loss;
      const auto row = all.begin() + i * V;
      result.is_greedy = result.is_greedy && std::max_element(row, row + V) - row == labels[static_cast<size_t>(i)];
    }
  }

  const RatPlus& model_;
  std::span<const size_t> chosen_;
  int64_t T_;
  std::vector<LogLikelihood> results_;
  std::vector<int64_t> places_, labels_;  // of every token of a continuation: the row of hidden_ that predicts it
  std::vector<size_t> rows_;
  Tensor hidden_;  // (B T, C)
};

}  // namespace

std::vector<std::optional<LogLikelihood>> log_likelihoods(const RatPlus& model, std::span<const TokenPair> pairs,
                                                          const LogLikelihoodOptions& options) {
  check_arguments(model, pairs, options);
  const NoGrad no_grad;
  std::vector<std::optional<LogLikelihood>> results(pairs.size());
  const auto padded = [&](size_t pair) { return rounded_up(read_length(pairs[pair], options.max_length)); };
  const auto batch_size = static_cast<size_t>(std::min(options.batch_size, static_cast<int64_t>(pairs.size())));
  for (size_t begin = 0; begin < pairs.size();) {
    std::vector<size_t> order(std::min(kSortedBatches * batch_size, pairs.size() - begin));
    std::iota(order.begin(), order.end(), begin);
    begin += order.size();
    std::ranges::stable_sort(order, std::greater(), padded);  // what needs most memory first
    for (size_t done = 0; done < order.size();) {
      if (options.stop && options.stop()) return results;
      const int64_t T = padded(order[done]);
      const size_t most = std::min(batch_size, static_cast<size_t>(std::max<int64_t>(1, kMostTokensAtOnce / T)));
      size_t count = 1;
      while (count < most && done + count < order.size() && padded(order[done + count]) == T) ++count;
      const auto chosen = std::span<const size_t>(order).subspan(done, count);
      const auto found = computed(chosen, [&] { return Batch(model, pairs, chosen, T, options).results(); });
      for (size_t i = 0; i < count; ++i) {
        results[chosen[i]] = found[i];
        if (options.on_result) options.on_result(chosen[i], found[i]);
      }
      done += count;
    }
  }
  return results;
}

}  // namespace ratel::tasks
