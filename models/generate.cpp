#include "models/generate.h"

#include "autograd/grad_mode.h"
#include "ops/view.h"

namespace ratel {
namespace {

/// The logits of the token after `text`.
std::vector<double> next_logits(const RatPlus& model, const std::vector<int64_t>& text, const ModelPattern& pattern) {
  const auto T = static_cast<int64_t>(text.size());
  const Tensor hidden = model.hidden(from_vector(text, {1, T}, DType::i64, model.device()), pattern);  // (1, T, C)
  return to_vector<double>(model.embedding.as_head(slice(hidden, 1, T - 1, T)));
}

}  // namespace

std::vector<int64_t> generate(const RatPlus& model, std::span<const int64_t> prompt, const ModelPattern& pattern,
                              const GenerationOptions& options, const OnToken& on_token) {
  check(!prompt.empty(), "generate: the prompt is empty; it needs at least one token");
  check(options.max_new_tokens >= 0, "generate: expected max_new_tokens 0 or more, found ", options.max_new_tokens);
  options.sampling.validate();
  pattern.check_fits(model.config);
  const NoGrad no_grad;
  std::vector<int64_t> text(prompt.begin(), prompt.end());
  for (int64_t step = 0; step < options.max_new_tokens; ++step) {
    const auto logits = next_logits(model, text, pattern);
    const int64_t token = sample_token(logits, options.sampling, {static_cast<uint64_t>(step)}, text);
    text.push_back(token);
    if (on_token && on_token(token) == Next::stop) break;
    if (token == options.eos) break;
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end()};
}

}  // namespace ratel
