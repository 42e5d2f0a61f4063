#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "models/rat_plus.h"
#include "models/sampling.h"

namespace ratel {

struct GenerationOptions {
  int64_t max_new_tokens = 128;
  std::optional<int64_t> eos;  ///< a token that ends the text
  SamplingOptions sampling;
};

/// What on_token wants: another token, or no more.
enum class Next { go_on, stop };
/// Called with every new token as soon as it is known: for printing as it comes, and for stopping between tokens.
using OnToken = std::function<Next(int64_t token)>;

/// Continues a prompt of at least one token, and returns the new ones: max_new_tokens of them, or fewer where one is
/// eos (which is returned too) or on_token says stop. Same model, prompt, pattern and options: same tokens. Every step
/// runs the model over the whole text so far.
/// Throws Error for an empty prompt, a token outside the vocabulary, and options or a pattern that do not fit.
std::vector<int64_t> generate(const RatPlus& model, std::span<const int64_t> prompt, const ModelPattern& pattern,
                              const GenerationOptions& options, const OnToken& on_token = {});

}  // namespace ratel
