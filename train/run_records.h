#pragma once

#include <cstdint>
#include <string>

#include "io/metrics_file.h"
#include "io/tensorboard.h"
#include "train/trainer.h"
#include "train/validation.h"

namespace ratel::train {

/// What a run writes down while it trains: metrics.jsonl, and the same for TensorBoard. Each call adds to both.
///
/// Scalars: loss/dense, loss/sparse, validation/dense, validation/sparse, learning_rate, gradient_norm,
/// gradient_norm_sparse, tokens_per_second, mfu, memory/live, memory/peak (bytes), skipped_updates. Where the run's own
/// pattern is not dense, what goes through it is loss/own and validation/own. Texts: config, command.
class RunRecords {
 public:
  /// Goes on after `step`: later rows of metrics.jsonl must be gone, later points TensorBoard drops. `command` is what
  /// was typed; may be empty. Throws Error(disk).
  RunRecords(const std::string& run, const TrainConfig& config, int64_t step, const std::string& command);

  void step(const StepReport& report);
  void validation(const ValidationReport& report);
  /// Returns once all of it is on the disk.
  void sync();

 private:
  io::MetricsFile metrics_;
  io::EventFile events_;
  std::string own_;  // what the losses through the run's own pattern are called
};

}  // namespace ratel::train
