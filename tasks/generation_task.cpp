#include "tasks/generation_task.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/free_memory.h"
#include "io/report.h"
#include "models/kv_cache.h"
#include "tasks/log_likelihood.h"
#include "tasks/token_pairs.h"

namespace ratel::tasks {
namespace {

std::string first_line(std::string_view text) {
  text.remove_prefix(std::min(text.size(), text.find_first_not_of('\n')));
  return std::string(text.substr(0, text.find('\n')));
}

/// Rows that are encoded together; texts of others are not in memory.
constexpr size_t kRowsAtOnce = 64;

struct Example {
  TextMetric metric = TextMetric::f1;
  Prompt prompt;
  bool is_truncated = false;
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
  return example;
}

TokenPair completion_of(Encoder& encoder, const GenerationRow& row, const GenerationTaskOptions& options) {
  TokenPair pair = completion_pair(encoder, row.prompt, row.completion, row.where);
  pair.context = middle_truncated(std::move(pair.context), options.max_length);
  return pair;
}

/// Throws Error(memory) where there is no room for the longest cache that one row alone takes.
void check_cache(const TaskSetting& setting, const GenerationRow& row, int64_t tokens) {
  try {
    if (!setting.model.device().is_cuda())
      require_memory(kv_cache_bytes(setting.model.config, setting.pattern, tokens, setting.model.dtype()),
                     "keys and values");
    const KvCache longest(setting.model, setting.pattern, 1, tokens);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::memory) throw;
    throw Error(concat_text(row.where, ": no memory for a cache of ", tokens, " tokens, prompt and max_new_tokens",
                            "\nhint: a sparser pattern, a lower max_new_tokens or --max-length need less"),
                ErrorKind::memory);
  }
}

/// Encodes every row once, so that one that cannot work is found before the model has computed for hours. False where
/// it was stopped.
bool check_rows(const TaskSetting& setting, Encoder& encoder, std::span<const GenerationRow> rows,
                const GenerationTaskOptions& options) {
  size_t longest = 0;
  int64_t most = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (setting.stop && setting.stop()) return false;
    const Prompt prompt = encoded(encoder, rows[i], options).prompt;
    if (!rows[i].completion.empty()) completion_of(encoder, rows[i], options);
    const int64_t tokens = static_cast<int64_t>(prompt.tokens.size()) + prompt.max_new_tokens - 1;
    if (tokens > most) {
      longest = i;
      most = tokens;
    }
  }
  if (most > 0) check_cache(setting, rows[longest], most);
  return true;
}

struct Answer {
  Continuation text;
  std::optional<LogLikelihood> completion;
  bool is_complete = false;
};

/// What the model makes of some rows.
class Answers {
 public:
  Answers(const TaskSetting& setting, Encoder& encoder, std::span<const GenerationRow> rows,
          const GenerationTaskOptions& options)
      : setting_(setting), encoder_(encoder), rows_(rows), options_(options), answers_(rows.size()) {}

  /// Adds what a batch of the rows said, and how probable their completions are: right after it was said, so that a
  /// signal or an error keeps the batches before.
  void add(std::span<const size_t> batch, std::span<const std::optional<Continuation>> texts) {
    std::vector<TokenPair> pairs;
    std::vector<size_t> owners;
    for (const size_t i : batch) {
      answers_[i].text = *texts[i];
      answers_[i].is_complete = rows_[i].completion.empty();
      if (answers_[i].is_complete) continue;
      pairs.push_back(completion_of(encoder_, rows_[i], options_));
      owners.push_back(i);
    }
    const auto take = [&](size_t pair, const LogLikelihood& result) {
      answers_[owners[pair]].completion = result;
      answers_[owners[pair]].is_complete = true;
    };
    try {
      log_likelihoods(setting_.model, pairs, {setting_.pattern, setting_.batch_size, 0, setting_.stop, take});
    } catch (const TextsError& error) {
      throw error.of(owners);
    }
  }

  const Answer& operator[](size_t i) const { return answers_[i]; }

 private:
  const TaskSetting& setting_;
  Encoder& encoder_;
  std::span<const GenerationRow> rows_;
  const GenerationTaskOptions& options_;
  std::vector<Answer> answers_;
};

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
  if (metric == TextMetric::string_match && std::ranges::find(row.answers, "") != row.answers.end())
    fail_input(row.where, R"(expected answers of at least one character for the metric "string_match", found "")");
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
  TaskResult result;
  result.complete = check_rows(setting, encoder, rows, options);
  Scores scores;
  const size_t at_once = std::max(kRowsAtOnce, static_cast<size_t>(setting.batch_size));
  for (size_t begin = 0; begin < rows.size() && result.complete; begin += at_once) {
    const auto part = rows.subspan(begin, std::min(at_once, rows.size() - begin));
    std::vector<Example> examples;
    std::vector<Prompt> prompts;
    for (const GenerationRow& row : part) {
      examples.push_back(encoded(encoder, row, options));
      prompts.push_back(examples.back().prompt);
    }
    TaskSetting told = setting;
    told.progress = [&](int64_t done, int64_t) {
      if (setting.progress) setting.progress(static_cast<int64_t>(begin) + done, static_cast<int64_t>(rows.size()));
    };
    Answers answers(setting, encoder, part, options);
    try {
      greedy_continuations(told, prompts, options.stop_strings,
                           [&](const auto& batch, const auto& texts) { answers.add(batch, texts); });
    } catch (const TextsError& error) {
      result.error = error_in_rows(error, part);
    }
    for (size_t i = 0; i < part.size(); ++i)
      if (answers[i].is_complete)
        result.scores.push_back(scores.add(begin + i, part[i], examples[i], answers[i], options));
      else
        result.complete = false;
    result.complete = result.complete && !result.error;
  }
  result.metrics = scores.metrics();
  return result;
}

}  // namespace ratel::tasks
