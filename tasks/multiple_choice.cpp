#include "tasks/multiple_choice.h"

#include <algorithm>

#include "tasks/log_likelihood.h"
#include "tasks/token_pairs.h"

namespace ratel::tasks {
namespace {

using io::Json;
using Found = std::span<const std::optional<LogLikelihood>>;

/// Rows computed together: progress is told between them, and a signal keeps those before. Fewer where they have more
/// tokens than this, so that the tokens of a file are never all in memory.
constexpr size_t kRowsAtOnce = 64, kTokensOfRows = size_t{1} << 22;

/// The pairs of rows computed together.
struct Pairs {
  std::vector<TokenPair> pairs;
  std::vector<size_t> owners;  // of each pair: the number of its row
  size_t tokens = 0;

  void add(TokenPair pair, size_t owner) {
    tokens += pair.context.size() + pair.continuation.size();
    pairs.push_back(std::move(pair));
    owners.push_back(owner);
  }
};

/// Computes the pairs that pairs_of(encoder, row, take) passes to take(pair), and calls conclude(index, results of its
/// pairs) for each row of which all are there, in order. Before, all rows are encoded once, so that one that does not
/// fit is found before the model has computed for hours.
template <class Row, class PairsOf, class Conclude>
void for_each_row(const TaskSetting& setting, std::span<const Row> rows, ContextLimit limit, PairsOf&& pairs_of,
                  Conclude&& conclude, TaskResult& task) {
  Encoder encoder(setting.tokenizer);
  for (const Row& row : rows) {
    if (setting.stop && setting.stop()) {
      task.complete = false;
      return;
    }
    pairs_of(encoder, row, [](TokenPair&&) {});
  }
  const size_t at_once = std::max(kRowsAtOnce, static_cast<size_t>(setting.batch_size));
  for (size_t begin = 0, end = 0; begin < rows.size() && task.complete; begin = end) {
    Pairs part;
    for (; end < rows.size() && end - begin < at_once && part.tokens < kTokensOfRows; ++end)
      pairs_of(encoder, rows[end], [&](TokenPair&& pair) { part.add(std::move(pair), end); });
    std::vector<std::optional<LogLikelihood>> found(part.pairs.size());
    const auto take = [&](size_t pair, const LogLikelihood& result) { found[pair] = result; };
    try {
      log_likelihoods(setting.model, part.pairs,
                      {setting.pattern, setting.batch_size, limit.max_length, setting.stop, take});
    } catch (const TextsError& error) {
      task.error = error_in_rows(error.of(part.owners), rows);
    }
    for (size_t first = 0, last = 0; first < found.size(); first = last) {
      while (last < found.size() && part.owners[last] == part.owners[first]) ++last;
      const Found own = Found(found).subspan(first, last - first);
      if (std::ranges::all_of(own, [](const auto& result) { return result.has_value(); }))
        conclude(part.owners[first], own);
      else
        task.complete = false;
    }
    if (task.complete && setting.progress)
      setting.progress(static_cast<int64_t>(end), static_cast<int64_t>(rows.size()));
  }
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
      normed.push_back(found[i]->sum / static_cast<double>(std::max<int64_t>(1, row.choices[i].length)));
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
  const auto pairs_of = [&](Encoder& encoder, const MultipleChoiceRow& row, const auto& take) {
    for (const Choice& choice : row.choices)
      take(pair_within(encoder, row.contexts[choice.context], choice.continuation, row.where, limit));
  };
  for_each_row(setting, rows, limit, pairs_of, conclude, result);
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
  const auto pairs_of = [&](Encoder& encoder, const LastWordRow& row, const auto& take) {
    take(pair_within(encoder, row.context, row.continuation, row.where, limit));
  };
  for_each_row(setting, rows, limit, pairs_of, conclude, result);
  result.metrics = {mean_metric("acc", right), perplexity_metric("perplexity", losses)};
  return result;
}

}  // namespace ratel::tasks
