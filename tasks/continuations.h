#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/generate.h"
#include "tasks/task_result.h"

namespace ratel::tasks {

struct Prompt {
  std::vector<int64_t> tokens;  ///< at least one
  int64_t max_new_tokens = 1;   ///< at least one
};

/// The most probable next token after another, of many prompts in batches of those that are alike in length; in the
/// order of the prompts, with the log-probabilities of the tokens. A text ends at the tokenizer's end-of-text, before a
/// stop string, or at max_new_tokens. Prompts that `setting.stop` came before have no result. `setting.progress` is
/// told of prompts.
///
/// On the CPU a text and its log-probabilities are the same bits whatever the other prompts and the batch size, of
/// models whose channels are a multiple of 16: each product of the model is computed over few rows at every batch size
/// (decoding: there are at most kFewFusedRows texts at once) or over many (reading prompts: they are cut so that no
/// part is short; prompts that are shorter are read alone). On a GPU, and with other channels, they are the same up to
/// rounding: where two tokens are nearly alike, another may be said.
///
/// Throws as generate() does.
std::vector<std::optional<Continuation>> greedy_continuations(const TaskSetting& setting,
                                                              std::span<const Prompt> prompts,
                                                              const std::vector<std::string>& stop_strings = {});

}  // namespace ratel::tasks
