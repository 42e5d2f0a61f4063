#include "tasks/multiple_choice.h"

#include <algorithm>

#include "tasks/log_likelihood.h"
#include "tasks/token_pairs.h"

namespace ratel::tasks {
namespace {

using io::Json;
using Found = std::span<const std::optional<LogLikelihood>>;

/// Rows computed together: progress is told between them, and a signal keeps those before.
constexpr size_t kRowsAtOnce = 64;

/// Encodes all rows by `pairs_of(encoder, row, pairs)`, so that a row that does not fit is found before the model has
/// computed for hours, and calls conclude(index, results of its pairs) for each row of which all are there, in order.
/// False where it was stopped.
template <class Row, class Pairs, class Conclude>
bool for_each_row(const TaskSetting& setting, std::span<const Row> rows, ContextLimit limit, Pairs&& pairs_of,
                  Conclude&& conclude) {
  Encoder encoder(setting.tokenizer);
  std::vector<TokenPair> pairs;
  std::vector<size_t> first{0};  // of each row, and the end
  for (const Row& row : rows) {
    pairs_of(encoder, row, pairs);
    first.push_back(pairs.size());
  }
  const LogLikelihoodOptions options{setting.pattern, setting.batch_size, limit.max_length, setting.stop};
  const size_t at_once = std::max(kRowsAtOnce, static_cast<size_t>(setting.batch_size));
  for (size_t begin = 0; begin < rows.size(); begin += at_once) {
    const size_t end = std::min(rows.size(), begin + at_once);
    const auto part = std::span(pairs).subspan(first[begin], first[end] - first[begin]);
    const auto found = log_likelihoods(setting.model, part, options);
    bool is_whole = true;
    for (size_t i = begin; i < end; ++i) {
      const Found own = Found(found).subspan(first[i] - first[begin], first[i + 1] - first[i]);
      const bool is_done = std::ranges::all_of(own, [](const auto& result) { return result.has_value(); });
      if (is_done) conclude(i, own);
      is_whole = is_whole && is_done;
    }
    if (!is_whole) return false;
    if (setting.progress) setting.progress(static_cast<int64_t>(end), static_cast<int64_t>(rows.size()));
  }
  return true;
}

/// The first of the largest.
size_t largest(std::span<const double> values) {
  return static_cast<size_t>(std::ranges::max_element(values) - values.begin());
}

/// The pair of a row; a pair that does not fit is the row's fault.
TokenPair pair_within(Encoder& encoder, const std::string& context, const std::string& continuation,
                      const std::string& where, ContextLimit limit) {
  TokenPair pair = token_pair(encoder, context, continuation, where);
  if (limit.max_length > 0 && static_cast<int64_t>(pair.continuation.size()) > limit.max_length)
    fail_input(where, "expected texts of at most ", limit.max_length, " tokens to choose from, found one of ",
               pair.continuation.size());
  return pair;
}

}  // namespace

TaskResult evaluate_multiple_choice(const TaskSetting& setting, std::span<const MultipleChoiceRow> rows,
                                    ContextLimit limit) {
  TaskResult result;
  std::vector<double> right, right_norm;
  const auto conclude = [&](size_t index, Found found) {
    const MultipleChoiceRow& row = rows[index];
    std::vector<double> sums, normed;
    Json greedy = Json::array();
    for (size_t i = 0; i < found.size(); ++i) {
      sums.push_back(found[i]->sum);
      normed.push_back(found[i]->sum / static_cast<double>(row.choices[i].length));
      greedy.push_back(found[i]->is_greedy);
    }
    const size_t choice = largest(sums), choice_norm = largest(normed), gold = static_cast<size_t>(row.gold);
    right.push_back(choice == gold ? 1 : 0);
    right_norm.push_back(choice_norm == gold ? 1 : 0);
    Json score = example_score(index, row.id);
    score.set("log_likelihoods", Json::array_of(sums));
    score.set("greedy", std::move(greedy));
    score.set("prediction", choice);
    score.set("prediction_norm", choice_norm);
    score.set("gold", gold);
    score.set("acc", choice == gold ? 1 : 0);
    score.set("acc_norm", choice_norm == gold ? 1 : 0);
    result.scores.push_back(std::move(score));
  };
  const auto pairs_of = [&](Encoder& encoder, const MultipleChoiceRow& row, std::vector<TokenPair>& pairs) {
    for (const Choice& choice : row.choices)
      pairs.push_back(pair_within(encoder, choice.context, choice.continuation, row.where, limit));
  };
  result.complete = for_each_row(setting, rows, limit, pairs_of, conclude);
  result.metrics = {mean_metric("acc", right), mean_metric("acc_norm", right_norm)};
  return result;
}

TaskResult evaluate_last_word(const TaskSetting& setting, std::span<const LastWordRow> rows, ContextLimit limit) {
  TaskResult result;
  std::vector<double> right, losses;
  const auto conclude = [&](size_t index, Found found) {
    const auto& [sum, is_greedy, tokens] = *found[0];
    right.push_back(is_greedy ? 1 : 0);
    losses.push_back(-sum);
    Json score = example_score(index, rows[index].id);
    score.set("log_likelihood", sum);
    score.set("tokens", tokens);
    score.set("acc", is_greedy ? 1 : 0);
    result.scores.push_back(std::move(score));
  };
  const auto pairs_of = [&](Encoder& encoder, const LastWordRow& row, std::vector<TokenPair>& pairs) {
    pairs.push_back(pair_within(encoder, row.context, row.continuation, row.where, limit));
  };
  result.complete = for_each_row(setting, rows, limit, pairs_of, conclude);
  result.metrics = {mean_metric("acc", right), perplexity_metric("perplexity", losses)};
  return result;
}

}  // namespace ratel::tasks
