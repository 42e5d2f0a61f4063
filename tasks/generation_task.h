#pragma once

#include <span>
#include <string>
#include <vector>

#include "tasks/continuations.h"
#include "tasks/task_result.h"
#include "tasks/task_rows.h"

namespace ratel::tasks {

/// What of a continuation is scored.
enum class ScoredPart {
  all,
  first_line,  ///< that which is not empty; LongBench does so for trec, triviaqa, samsum and lsht
};

struct GenerationTaskOptions {
  TextMetric metric = TextMetric::f1;  ///< of rows that name none
  int64_t max_new_tokens = 64;         ///< of rows that name none
  /// Tokens of a prompt at most: of a longer one the first and the last half of these are kept, as LongBench does; the
  /// tokens themselves, which are not decoded and encoded again. 0: all.
  int64_t max_length = 0;
  std::vector<std::string> stop_strings = {};
  ScoredPart scored = ScoredPart::all;
};

/// The metric of a row. Throws Error(input) for classification without "all_classes", and for string_match with an
/// empty answer, which would occur in every text.
TextMetric metric_of(const GenerationRow& row, const GenerationTaskOptions& options);

/// The first and the last half of max_length tokens, the last being the longer where it is odd; all for 0 and where
/// there are no more.
std::vector<int64_t> middle_truncated(std::vector<int64_t> tokens, int64_t max_length);

/// What the model says to prompts, in the style of LongBench and RULER: greedy, scored by a text metric each. One
/// metric a TextMetric that rows have, and "score", over all rows, where they have several; from 0 to 1, not to 100.
/// Where rows have a completion, "answer_loss" too: the mean over these of -ln p of the completion after the prompt, in
/// nats a token, which tells models apart that say nothing right yet.
///
/// An example's scores: {"index", "id", "prompt_tokens", "truncated", "prediction", "finish_reason", "log_likelihood"
/// (ln p of all tokens that were said), "metric", "score", "answer_loss" where there is one}.
/// All rows are encoded before the model computes: throws Error(input) as metric_of() does and for a prompt or
/// completion that has no token, Error(memory) for a row whose cache alone does not fit. What goes wrong later is the
/// result's `error`, and the batches before it count.
TaskResult evaluate_generation(const TaskSetting& setting, std::span<const GenerationRow> rows,
                               const GenerationTaskOptions& options);

}  // namespace ratel::tasks
