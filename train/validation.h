#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "io/token_file.h"
#include "models/rat_plus.h"
#include "train/checkpoint.h"
#include "train/config.h"

namespace ratel::train {

/// The loss on data that is not trained on, after a step.
struct ValidationReport {
  int64_t step = 0;
  double loss = 0;                    ///< nats a token through the run's own pattern
  std::optional<double> sparse_loss;  ///< through the sparse pattern, in joint training
  int64_t validation_tokens = 0;      ///< that counted
  double validation_seconds = 0;      ///< it took
  int64_t tokens = 0;                 ///< trained on so far
  double seconds = 0;                 ///< of training so far, as in StepReport
  bool is_best = false;               ///< no earlier one of the run was as low
};
/// A row of metrics.jsonl of its own: step, validation_loss, validation_sparse_loss, validation_tokens,
/// validation_seconds, tokens, seconds. All but the two of seconds are a function of config and data.
io::Json to_json(const ValidationReport& report);

/// Validates at intervals: config.data.validation, [train] validate_every and validate_tokens.
class Validator {
 public:
  /// Looks at every token. Throws Error(input) for a file that is not one of the model's tokens, or of which none of
  /// those that are validated on counts.
  Validator(const TrainConfig& config, const std::function<bool()>& stop);

  /// True after every validate_every-th step and the last.
  [[nodiscard]] bool is_due(int64_t step) const;
  /// Loss (and sparse loss) over the whole file as evaluate() has it, or over windows spread evenly over it, where it
  /// has one. No gradients, no randomness: training goes on as if it had not been. Nothing where `stop` ended it.
  [[nodiscard]] std::optional<ValidationReport> run(const RatPlus& model, const Progress& progress,
                                                    const std::function<bool()>& stop) const;
  [[nodiscard]] DataIdentity identity() const;

 private:
  [[nodiscard]] std::optional<double> loss(const RatPlus& model, const ModelPattern& pattern,
                                           const std::function<bool()>& stop, int64_t& tokens) const;
  TrainConfig config_;
  io::TokenFile file_;
};

/// A row of a run's metrics about a validation.
struct Validated {
  int64_t step = 0;
  double loss = 0;  ///< NaN where it was not finite
};
/// Those of a run, in their order; none where it has no metrics. Throws Error(input).
std::vector<Validated> validations_of(const std::string& run);

/// The step of the lowest of the losses, the earliest of several, whose checkpoint `has`.
std::optional<int64_t> best_step(const std::vector<Validated>& validations,
                                 const std::function<bool(int64_t step)>& has);

/// The valid checkpoint of a run with the lowest validation loss that its metrics tell of; each that is damaged is
/// named to `warn`, and the next taken. Nothing where there is none. Throws Error(input).
std::optional<CheckpointEntry> best_checkpoint(const std::string& run, const Warn& warn = {});

}  // namespace ratel::train
