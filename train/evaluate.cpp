#include "train/evaluate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "autograd/grad_mode.h"
#include "core/free_memory.h"
#include "ops/cross_entropy.h"
#include "train/data.h"

namespace ratel::train {
namespace {

void check_options(const RatPlus& model, const EvalOptions& options) {
  check(options.seq_len >= 1, "evaluate: expected a seq_len of at least 1, found ", options.seq_len);
  check(options.batch_size >= 1, "evaluate: expected a batch_size of at least 1, found ", options.batch_size);
  options.pattern.check_fits(model.config);
}

/// One batch of windows of `length` tokens: a loss each.
void add_batch(const RatPlus& model, const io::TokenFile& file, std::span<const int64_t> begins, int64_t length,
               const EvalOptions& options, std::vector<WindowLoss>& losses) {
  const Batch windows = windows_at(file, begins, length, options.eos), batch = moved_to(windows, model.device());
  const auto of_tokens = to_vector<double>(token_losses(model(batch.tokens, options.pattern), batch.labels));
  const auto targets = to_vector<int64_t>(windows.labels);
  for (size_t at = 0; at < of_tokens.size();) {
    WindowLoss window;
    for (const size_t end = at + static_cast<size_t>(length); at < end; ++at) {
      if (targets[at] == kIgnoreIndex) continue;
      window.loss += of_tokens[at];
      ++window.tokens;
    }
    losses.push_back(window);
  }
}

}  // namespace

void require_memory_for(const RatPlus& model, int64_t windows, int64_t T) {
  if (model.device().is_cuda()) return;  // whose pool says so itself
  // The hidden layer before and after GELU, or the logits.
  const int64_t widest = std::max(8 * model.config.channels, model.config.vocab_size);
  require_memory(bounded_product({windows, T, widest, static_cast<int64_t>(size_of(model.dtype()))}),
                 concat_text("the activations of ", windows, " x ", T, " tokens"),
                 "a smaller --batch-size, or a smaller --seq-len");
}

void check_counts(const io::TokenFile& file, std::span<const int64_t> begins, int64_t length, int64_t eos) {
  constexpr int64_t kPiece = 4096;
  std::array<int64_t, kPiece> ids{};
  for (const int64_t begin : begins)
    for (int64_t done = 0; done < length; done += kPiece) {
      const int64_t count = std::min(kPiece, length - done);
      file.read(begin + done, count, ids.data());
      if (std::ranges::any_of(std::span(ids).first(static_cast<size_t>(count)),
                              [eos](int64_t id) { return id != eos; }))
        return;
    }
  fail_input(file.path(), "expected tokens to predict from, found nothing but the end-of-text ", eos,
             ", after which nothing is predicted");
}

std::vector<int64_t> spread_windows(int64_t first, int64_t end, int64_t T, int64_t tokens) {
  const int64_t there = end - first, count = std::min(there, tokens / T);
  std::vector<int64_t> begins;
  for (int64_t i = 0; i < count; ++i) begins.push_back((first + (2 * i + 1) * there / (2 * count)) * T);
  return begins;
}

std::vector<WindowLoss> window_losses(const RatPlus& model, const io::TokenFile& file, std::span<const int64_t> begins,
                                      const EvalOptions& options) {
  check_options(model, options);
  const NoGrad no_grad;
  std::vector<WindowLoss> losses;
  for (size_t done = 0; done < begins.size();) {
    if (options.stop && options.stop()) break;
    const size_t count = std::min(static_cast<size_t>(options.batch_size), begins.size() - done);
    add_batch(model, file, begins.subspan(done, count), options.seq_len, options, losses);
    done += count;
    if (options.progress)
      options.progress(static_cast<int64_t>(done) * options.seq_len,
                       static_cast<int64_t>(begins.size()) * options.seq_len);
  }
  return losses;
}

EvalResult evaluate(const RatPlus& model, const io::TokenFile& file, const EvalOptions& options) {
  check_options(model, options);
  if (file.size() < 2) fail_input(file.path(), "expected at least 2 tokens to predict one, found ", file.size());
  check_counts(file, std::array<int64_t, 1>{0}, file.size() - 1, options.eos);

  const NoGrad no_grad;
  const int64_t T = options.seq_len, targets = file.size() - 1;
  std::vector<WindowLoss> losses;
  bool complete = true;
  for (int64_t begin = 0; begin < targets;) {
    if (options.stop && options.stop()) {
      complete = false;
      break;
    }
    const int64_t length = std::min(T, targets - begin);
    std::vector<int64_t> begins(static_cast<size_t>(std::min(options.batch_size, (targets - begin) / length)));
    for (int64_t& one : begins) one = std::exchange(begin, begin + length);
    add_batch(model, file, begins, length, options, losses);
    if (options.progress) options.progress(begin, targets);
  }
  EvalResult result = mean_of(losses);
  result.complete = complete;
  return result;
}

EvalResult mean_of(std::span<const WindowLoss> windows) {
  EvalResult result;
  double total = 0;
  for (const WindowLoss& window : windows) {
    total += window.loss;
    result.tokens += window.tokens;
  }
  if (result.tokens > 0) result.loss = total / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace ratel::train
