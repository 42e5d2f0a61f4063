#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/generate.h"
#include "tasks/task_result.h"
#include "tasks/texts_error.h"

namespace ratel::tasks {

struct Prompt {
  std::vector<int64_t> tokens;  ///< at least one
  int64_t max_new_tokens = 1;   ///< at least one
};

/// Called with the numbers of the prompts of a batch whose texts are there now, and all results so far.
using AfterBatch =
    std::function<void(std::span<const size_t> prompts, std::span<const std::optional<Continuation>> results)>;

/// The most probable next token after another, of many prompts in batches of those that are alike in length; in the
/// order of the prompts, with the log-probabilities of the tokens. A text ends at the tokenizer's end-of-text, before a
/// stop string, or at max_new_tokens. Prompts that `setting.stop` came before have no result. `setting.progress` is
/// told of prompts.
///
/// On the CPU a text and its log-probabilities are the same bits whatever the other prompts and the batch size: each
/// product of the model is computed over few rows at every batch size (decoding: there are at most kFewFusedRows texts
/// at once) or over many (reading prompts: they are cut so that no part is short; prompts that are shorter are read
/// alone). Models whose channels are no multiple of 16 compute a few rows otherwise than one: they read every prompt
/// alone. On a GPU texts are the same up to rounding: where two tokens are nearly alike, another may be said.
///
/// `after_batch` is called after each batch, before its progress is told. Throws as generate() does, but for
/// Error(usage) as TextsError, and what `after_batch` throws.
std::vector<std::optional<Continuation>> greedy_continuations(const TaskSetting& setting,
                                                              std::span<const Prompt> prompts,
                                                              const std::vector<std::string>& stop_strings = {},
                                                              const AfterBatch& after_batch = {});

}  // namespace ratel::tasks
