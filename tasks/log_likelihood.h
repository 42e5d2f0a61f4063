#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "models/rat_plus.h"
#include "tasks/texts_error.h"

namespace ratel::tasks {

/// A text and how it goes on, in tokens.
struct TokenPair {
  std::vector<int64_t> context;       ///< at least one token
  std::vector<int64_t> continuation;  ///< at least one token
};

struct LogLikelihood {
  double sum = 0;          ///< ln p of the whole continuation: the sum over its tokens, in nats
  bool is_greedy = false;  ///< each of its tokens is the most probable one; the lowest id of several
  int64_t tokens = 0;      ///< of the continuation
};

struct LogLikelihoodOptions {
  ModelPattern pattern = {};
  int64_t batch_size = 8;  ///< pairs computed at once, at most
  /// Tokens that the model reads at most: of a longer pair the beginning of the context is left out, as
  /// lm-evaluation-harness does. 0: it reads all.
  int64_t max_length = 0;
  std::function<bool()> stop = {};                                               ///< polled between batches
  std::function<void(size_t pair, const LogLikelihood& result)> on_result = {};  ///< called after each batch
};

/// Tokens that the model reads at once at most, padding counted, where not one pair alone has more: what is in memory
/// grows with them.
inline constexpr int64_t kMostTokensAtOnce = 16384;

/// How probable the model holds each continuation after its context. One forward a batch of pairs that are alike in
/// length, with padding at their right, which no token sees; in the order of the pairs, whatever order they are
/// computed in. Pairs that `stop` came before have no result; they are among the last, but not exactly the last.
///
/// On the CPU a result has the same bits whatever the other pairs, their order and the batch size: a pair is padded to
/// a length that follows from its own, and the products of the model over at least kLengthStep rows, and of its head
/// over as many, compute each row alike whatever the number of rows. A GPU's product may add in another order for
/// another number of rows: there the sums agree up to rounding. Throws Error for an empty context or continuation, a
/// token that the model does not know, a continuation that is longer than max_length and options that do not fit;
/// TextsError where memory does not suffice, and (numerical) where the model's answer is not finite.
std::vector<std::optional<LogLikelihood>> log_likelihoods(const RatPlus& model, std::span<const TokenPair> pairs,
                                                          const LogLikelihoodOptions& options);

/// Lengths are padded to multiples of it.
inline constexpr int64_t kLengthStep = 64;

}  // namespace ratel::tasks
