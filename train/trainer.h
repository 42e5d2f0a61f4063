#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/json.h"
#include "models/rat_plus.h"
#include "train/batch_feed.h"
#include "train/config.h"
#include "train/optimizer.h"
#include "train/update.h"

namespace ratel::train {

/// One step: one batch, whatever the number of optimizer steps it makes.
struct StepReport {
  int64_t step = 0;                        ///< batches so far, this one included: 1 is the first
  int64_t steps = 0;                       ///< batches of the whole run
  double loss = 0;                         ///< nats a token through the run's own pattern
  std::optional<double> sparse_loss;       ///< through the sparse pattern, in joint training
  double learning_rate = 0;                ///< of all optimizer steps of the batch
  double grad_norm = 0;                    ///< before clipping; of the sum for Joint::sum
  std::optional<double> sparse_grad_norm;  ///< for Joint::alternate
  int64_t skipped = 0;                     ///< optimizer steps of this batch that were not applied
  int64_t tokens = 0;                      ///< trained on so far; in joint training a token counts once, not twice
  double tokens_per_second = 0;            ///< of this step, counted likewise
  double seconds = 0;                      ///< of training so far, earlier sessions of the run included
  double eta_seconds = 0;                  ///< to the end of the run, at this session's pace
  int64_t memory_live = 0;                 ///< bytes of tensors on the model's device after the step
  int64_t memory_peak = 0;                 ///< the most there were
  std::optional<double> mfu;  ///< model FLOPs utilisation, train/flops.h; nothing where it would be a guess
};
/// The row of metrics.jsonl. All but tokens_per_second, seconds, eta_seconds, mfu, memory_live and memory_peak are a
/// function of config and data.
io::Json to_json(const StepReport& report);

/// An optimizer step that was not applied because its loss or gradient was not finite.
struct SkippedUpdate {
  int64_t step = 0;                       ///< of the run, from 1
  bool sparse = false;                    ///< the sparse pass; of a sum, its loss is what is not finite
  double loss = 0, grad_norm = 0;         ///< the loss of that pass; of the last one where all losses were finite
  int64_t first_sample = 0, samples = 0;  ///< the batch: samples [first_sample, first_sample + samples)
  int64_t steps_in_a_row = 0;             ///< steps with a skipped update so far without one that had none
};
/// "step 12: loss nan, gradient norm nan through the sparse pattern: not applied; samples 88 to 95".
std::string describe(const SkippedUpdate& skipped);

/// A run stops with ErrorKind::numerical after this many steps in a row with an update that was not applied.
inline constexpr int64_t kMaxSkippedInARow = 5;

/// How far a run is: what a checkpoint must remember beside weights and moments.
struct Progress {
  int64_t step = 0;     ///< batches done
  int64_t samples = 0;  ///< windows done: the data's cursor, independent of the batch size
  int64_t tokens = 0;
  int64_t skipped_updates = 0;
  int64_t skipped_in_a_row = 0;
  double seconds = 0;
  friend bool operator==(const Progress&, const Progress&) = default;
};

/// The training loop's body: forward, backward, clip, step. Knows no files and prints nothing. A step on a GPU is put
/// into its stream whole, and the next batch read, before the host waits, once, for the losses and norms.
///
/// With train.graph on a GPU the second step is recorded (train/update.h), and it and those behind it are that
/// recording; which parameters want gradients is that of the recording too. Recorded or not, a step forgets the
/// gradients that others left, and leaves none, also where it throws.
///
/// A batch computed in several parts (data.accumulate) weights each by its share of the batch's counted labels, so that
/// the result is that of the whole batch up to rounding.
class Trainer {
 public:
  /// Keeps references to config, model and optimizer; they must outlive it.
  Trainer(const TrainConfig& config, const RatPlus& model, Optimizer& optimizer, BatchSource batches);

  /// Trains on the next batch. A loss or gradient norm that is not finite is never applied: the update goes to
  /// `on_skipped`, and the batch counts as done.
  StepReport step(const std::function<void(const SkippedUpdate&)>& on_skipped = {});
  [[nodiscard]] const Progress& progress() const { return progress_; }
  void set_progress(const Progress& progress) { progress_ = progress; }
  [[nodiscard]] bool finished() const { return progress_.step >= config_->train.steps; }
  /// True after kMaxSkippedInARow steps with a skipped update: the run must stop.
  [[nodiscard]] bool diverged() const { return progress_.skipped_in_a_row >= kMaxSkippedInARow; }

 private:
  enum class Pass { sparse, own };
  /// What became of an update.
  struct Outcome {
    std::vector<double> losses;  // one a pass, of the batch
    double grad_norm;
    bool applied;
  };
  /// Waits for all updates of the step.
  [[nodiscard]] std::vector<Outcome> outcomes(std::span<const BatchPart> parts) const;

  const TrainConfig* config_;
  const RatPlus* model_;
  Optimizer* optimizer_;
  BatchFeed batches_;
  Tensor results_;  // of all updates, their losses and outcomes, so that one copy brings them to the host
  std::vector<std::vector<Pass>> passes_;  // of each update
  std::vector<Update> updates_;
  Progress progress_;
  double session_seconds_ = 0;
  int64_t session_steps_ = 0;
};

}  // namespace ratel::train
