#pragma once

#include <span>

#include "tasks/task_result.h"
#include "tasks/task_rows.h"

namespace ratel::tasks {

/// What tasks by log-likelihood read of a text: the last max_length tokens, or all for 0.
struct ContextLimit {
  int64_t max_length = 0;
};

/// Which choice the model holds for the most probable.
///
///   acc       the choice of the largest log-likelihood is the right one; the first of several
///   acc_norm  the same of the log-likelihood divided by the choice's length in characters, as lm-evaluation-harness
///             does: not in bytes, not in tokens, and without the space before it. Where contexts are to be chosen
///             from, their lengths
///
/// An example's scores: {"index", "id", "log_likelihoods": [...], "greedy": [...], "prediction", "prediction_norm",
/// "gold", "acc": 0 or 1, "acc_norm"}. All rows are encoded before the model computes: throws as token_pair() does, and
/// Error(input) for a choice of more than max_length tokens. A TextsError of log_likelihoods() is the result's `error`,
/// and the rows before it count.
TaskResult evaluate_multiple_choice(const TaskSetting& setting, std::span<const MultipleChoiceRow> rows,
                                    ContextLimit limit = {});

/// Whether the model says the last word of a text, LAMBADA.
///
///   acc         each token of the word is the most probable one
///   perplexity  e^(mean of -ln p of the word), a word counting once however many tokens it has
///
/// An example's scores: {"index", "id", "log_likelihood", "tokens", "acc"}. Throws as evaluate_multiple_choice() does.
/// Source: LAMBADA, arXiv 1606.06031; lm-evaluation-harness.
TaskResult evaluate_last_word(const TaskSetting& setting, std::span<const LastWordRow> rows, ContextLimit limit = {});

}  // namespace ratel::tasks
