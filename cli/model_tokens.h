#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/model_options.h"
#include "cli/options.h"
#include "io/token_file.h"

namespace ratel::cli {

/// --eos: the token after which nothing is counted.
struct EndOfText {
  std::string text;

  void add_to(Options& options);
  /// What was given; nothing where it was not. Throws Error(usage).
  [[nodiscard]] std::optional<int64_t> given() const;
};

/// The end-of-text that was given; else what the model was trained with, as its checkpoint tells; else that of its
/// tokenizer; of none that of the sidecar of the data; else -1: there is none. `data` may be empty. Throws
/// Error(input).
int64_t end_of_text(std::optional<int64_t> given, const OpenedModel& model, const std::string& data);

/// The tokens of `data` for the model, not yet validated. Throws Error(input) where they are another tokenizer's or
/// have another end-of-text.
io::TokenFile open_tokens(const OpenedModel& model, const std::string& data, int64_t eos);

}  // namespace ratel::cli
