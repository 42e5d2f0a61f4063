#include "tasks/generation_task.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "io/report.h"

namespace ratel::tasks {
namespace {

std::string first_line(std::string_view text) {
  text.remove_prefix(std::min(text.size(), text.find_first_not_of('\n')));
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

TextMetric metric_of(const GenerationRow& row, const GenerationTaskOptions& options) {
  const TextMetric metric = row.metric.value_or(options.metric);
  if (metric == TextMetric::classification && row.classes.empty())
    fail_input(row.where, R"(expected "all_classes" for the metric "classification", found none)");
  return metric;
}

std::vector<int64_t> middle_truncated(std::vector<int64_t> tokens, int64_t max_length) {
  const auto length = static_cast<int64_t>(tokens.size());
  if (max_length == 0 || length <= max_length) return tokens;
  const int64_t head = max_length / 2, tail = max_length - head;
  tokens.erase(tokens.begin() + head, tokens.end() - tail);
  return tokens;
}

TaskResult evaluate_generation(const TaskSetting& setting, std::span<const GenerationRow> rows,
                               const GenerationTaskOptions& options) {
  check(options.max_length >= 0 && options.max_new_tokens >= 1,
        "evaluate_generation: expected a max_length of at least 0 and max_new_tokens of at least 1, found ",
        options.max_length, " and ", options.max_new_tokens);
  Encoder encoder(setting.tokenizer);
  std::vector<Prompt> prompts;
  std::vector<bool> is_truncated;
  for (const GenerationRow& row : rows) {
    metric_of(row, options);
    std::vector<int64_t> tokens;
    encoder.encode(row.prompt, tokens);
    if (tokens.empty())
      fail_input(row.where, "the tokenizer ", setting.tokenizer.name(), " makes no token of the prompt ",
                 io::in_quotes(row.prompt));
    const size_t length = tokens.size();
    prompts.push_back(
        {middle_truncated(std::move(tokens), options.max_length), row.max_new_tokens.value_or(options.max_new_tokens)});
    is_truncated.push_back(prompts.back().tokens.size() < length);
  }
  const auto texts = greedy_continuations(setting, prompts, options.stop_strings);

  TaskResult result;
  std::vector<double> all;
  std::vector<std::pair<TextMetric, std::vector<double>>> by_metric;  // in the order they come
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!texts[i]) {
      result.complete = false;
      continue;
    }
    const TextMetric metric = metric_of(rows[i], options);
    const std::string prediction =
        options.scored == ScoredPart::first_line ? first_line(texts[i]->text) : texts[i]->text;
    all.push_back(text_score(metric, prediction, rows[i].answers, rows[i].classes));
    auto own = std::ranges::find(by_metric, metric, [](const auto& each) { return each.first; });
    if (own == by_metric.end()) own = by_metric.insert(own, {metric, {}});
    own->second.push_back(all.back());
    io::Json score = example_score(i, rows[i].id);
    score.set("prompt_tokens", prompts[i].tokens.size());
    score.set("truncated", static_cast<bool>(is_truncated[i]));
    score.set("prediction", prediction);
    score.set("finish_reason", name_in(names_of(FinishReason{}), texts[i]->finish));
    score.set("log_likelihood", std::accumulate(texts[i]->logprobs.begin(), texts[i]->logprobs.end(), 0.0));
    score.set("metric", name_in(names_of(TextMetric{}), metric));
    score.set("score", all.back());
    result.scores.push_back(std::move(score));
  }
  for (const auto& [metric, scores] : by_metric)
    result.metrics.push_back(mean_metric(std::string(name_in(names_of(TextMetric{}), metric)), scores));
  if (by_metric.size() != 1) result.metrics.push_back(mean_metric("score", all));
  return result;
}

}  // namespace ratel::tasks
