#include "tasks/generation_task.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "io/report.h"
#include "tasks/log_likelihood.h"
#include "tasks/token_pairs.h"

namespace ratel::tasks {
namespace {

std::string first_line(std::string_view text) {
  text.remove_prefix(std::min(text.size(), text.find_first_not_of('\n')));
  return std::string(text.substr(0, text.find('\n')));
}

/// Rows computed together: a signal keeps those before.
constexpr size_t kRowsAtOnce = 64;

struct Example {
  TextMetric metric = TextMetric::f1;
  Prompt prompt;
  bool is_truncated = false;
  std::optional<TokenPair> completion;  // after the prompt
};

Example encoded(Encoder& encoder, const GenerationRow& row, const GenerationTaskOptions& options) {
  Example example;
  example.metric = metric_of(row, options);
  std::vector<int64_t> tokens;
  encoder.encode(row.prompt, tokens);
  if (tokens.empty())
    fail_input(row.where, "the tokenizer ", encoder.tokenizer().name(), " makes no token of the prompt ",
               io::in_quotes(row.prompt));
  const size_t length = tokens.size();
  example.prompt = {middle_truncated(std::move(tokens), options.max_length),
                    row.max_new_tokens.value_or(options.max_new_tokens)};
  example.is_truncated = example.prompt.tokens.size() < length;
  if (row.completion.empty()) return example;
  example.completion = token_pair(encoder, row.prompt, row.completion, row.where);
  example.completion->context = middle_truncated(std::move(example.completion->context), options.max_length);
  return example;
}

struct Answer {
  Continuation text;
  std::optional<LogLikelihood> completion;
  bool is_complete = false;
};

/// What the model makes of the examples from number `first` of `total` on.
std::vector<Answer> answers_of(const TaskSetting& setting, std::span<const Example> examples, size_t first,
                               size_t total, const GenerationTaskOptions& options) {
  TaskSetting told = setting;
  told.progress = [&](int64_t done, int64_t) {
    if (setting.progress) setting.progress(static_cast<int64_t>(first) + done, static_cast<int64_t>(total));
  };
  std::vector<Prompt> prompts;
  std::vector<TokenPair> pairs;
  for (const Example& example : examples) {
    prompts.push_back(example.prompt);
    if (example.completion) pairs.push_back(*example.completion);
  }
  auto texts = greedy_continuations(told, prompts, options.stop_strings);
  const auto completions =
      log_likelihoods(setting.model, pairs, {setting.pattern, setting.batch_size, 0, setting.stop});
  std::vector<Answer> answers(examples.size());
  size_t pair = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    if (texts[i]) answers[i].text = std::move(*texts[i]);
    if (examples[i].completion) answers[i].completion = completions[pair++];
    answers[i].is_complete = texts[i] && examples[i].completion.has_value() == answers[i].completion.has_value();
  }
  return answers;
}

/// What has been scored so far.
class Scores {
 public:
  io::Json add(size_t index, const GenerationRow& row, const Example& example, const Answer& answer,
               const GenerationTaskOptions& options) {
    const std::string prediction =
        options.scored == ScoredPart::first_line ? first_line(answer.text.text) : answer.text.text;
    const double score = text_score(example.metric, prediction, row.answers, row.classes);
    all_.push_back(score);
    auto own = std::ranges::find(by_metric_, example.metric, [](const auto& each) { return each.first; });
    if (own == by_metric_.end()) own = by_metric_.insert(own, {example.metric, {}});
    own->second.push_back(score);
    io::Json line = example_score(index, row.id);
    line.set("prompt_tokens", example.prompt.tokens.size());
    line.set("truncated", example.is_truncated);
    line.set("prediction", prediction);
    line.set("finish_reason", name_in(names_of(FinishReason{}), answer.text.finish));
    line.set("log_likelihood", std::accumulate(answer.text.logprobs.begin(), answer.text.logprobs.end(), 0.0));
    line.set("metric", name_in(names_of(TextMetric{}), example.metric));
    line.set("score", score);
    if (answer.completion) {
      losses_.push_back(-answer.completion->sum / static_cast<double>(answer.completion->tokens));
      line.set("answer_loss", losses_.back());
    }
    return line;
  }

  [[nodiscard]] std::vector<Metric> metrics() const {
    std::vector<Metric> result;
    for (const auto& [metric, scores] : by_metric_)
      result.push_back(mean_metric(std::string(name_in(names_of(TextMetric{}), metric)), scores));
    if (by_metric_.size() != 1) result.push_back(mean_metric("score", all_));
    if (!losses_.empty()) result.push_back(mean_metric("answer_loss", losses_));
    return result;
  }

 private:
  std::vector<double> all_, losses_;
  std::vector<std::pair<TextMetric, std::vector<double>>> by_metric_;  // in the order they come
};

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
  std::vector<Example> examples;
  for (const GenerationRow& row : rows) examples.push_back(encoded(encoder, row, options));

  TaskResult result;
  Scores scores;
  const size_t at_once = std::max(kRowsAtOnce, static_cast<size_t>(setting.batch_size));
  for (size_t begin = 0; begin < rows.size() && result.complete; begin += at_once) {
    const auto part = std::span(examples).subspan(begin, std::min(at_once, rows.size() - begin));
    const std::vector<Answer> answers = answers_of(setting, part, begin, rows.size(), options);
    for (size_t i = 0; i < part.size(); ++i)
      if (answers[i].is_complete)
        result.scores.push_back(scores.add(begin + i, rows[begin + i], part[i], answers[i], options));
      else
        result.complete = false;
  }
  result.metrics = scores.metrics();
  return result;
}

}  // namespace ratel::tasks
