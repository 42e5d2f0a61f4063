#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "io/token_file.h"
#include "models/rat_plus.h"

namespace ratel::train {

struct EvalResult {
  double loss = 0;        ///< nats a token, the mean over `tokens`
  double perplexity = 0;  ///< e^loss
  int64_t tokens = 0;     ///< predicted tokens that counted
  bool complete = true;   ///< false where `stop` ended it early: the result is over what was seen
};

struct EvalOptions {
  int64_t seq_len = 256;  ///< T
  ModelPattern pattern = {};
  int64_t batch_size = 8;           ///< windows computed at once; changes the result by rounding at most
  int64_t eos = -1;                 ///< the end-of-text id; -1: there is none
  std::function<bool()> stop = {};  ///< polled between batches
  std::function<void(int64_t done, int64_t total)> progress = {};  ///< in tokens
};

/// Throws Error(memory) where a CPU has less free than a batch of that many windows of T tokens takes: its widest
/// activations alone. For before anything is computed: later what the allocator keeps for reuse does not count as free.
void require_memory_for(const RatPlus& model, int64_t windows, int64_t T);

/// Throws Error(input) where of those windows of `length` tokens none has a token that counts: all inputs are `eos`.
void check_counts(const io::TokenFile& file, std::span<const int64_t> begins, int64_t length, int64_t eos);

/// Mean cross-entropy over a token file, window by window: window w reads tokens [w T, w T + T) and predicts for each
/// the one after it, so that targets of neighbouring windows overlap by one token. A last window is shorter where T
/// does not divide the file's size - 1: every token but the first is predicted exactly once. As in training, what
/// follows an `eos` input is not counted.
///
/// Gradients are off. Losses are summed in f64, window by window in the order of the file. Throws Error(input) for a
/// file of fewer than two tokens, of which none counts, or a token id the model does not know, Error where T or the
/// pattern do not fit.
EvalResult evaluate(const RatPlus& model, const io::TokenFile& file, const EvalOptions& options);

/// The loss of one window: the sum over its tokens that counted.
struct WindowLoss {
  double loss = 0;
  int64_t tokens = 0;
};

/// Begins of windows of T tokens, at most `tokens` in all, spread evenly over the windows [first, end) of a file.
std::vector<int64_t> spread_windows(int64_t first, int64_t end, int64_t T, int64_t tokens);

/// The losses of those windows of seq_len tokens that begin at `begins`, in that order; fewer where `stop` ended it.
/// Throws as evaluate() does, and Error where a window is not in the file.
std::vector<WindowLoss> window_losses(const RatPlus& model, const io::TokenFile& file, std::span<const int64_t> begins,
                                      const EvalOptions& options);
/// Their mean over the tokens that counted.
EvalResult mean_of(std::span<const WindowLoss> windows);

}  // namespace ratel::train
