#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "train/checkpoint.h"
#include "train/config.h"
#include "train/run_folder.h"
#include "train/trainer.h"
#include "train/validation.h"

namespace ratel::train {

/// What a run tells its caller; each may be empty. Called from the thread that trains.
struct Observer {
  /// Once, before the first step, when the folder holds the run's config: that config as it was resolved, the
  /// parameters' number, and the step resumed from (0: none).
  std::function<void(const TrainConfig& config, int64_t parameters, int64_t resumed_step)> start;
  std::function<void(const StepReport& report)> step;
  std::function<void(const ValidationReport& report)> validation;
  std::function<void(const SkippedUpdate& skipped)> skipped;
  std::function<void(const std::string& path)> checkpoint;
  Warn warn;
};

enum class Start { fresh, resume };
/// Whether a resumed run may go on with another config or other data than it was started with.
enum class Changes { refuse, allow };

/// What training and adapting have in common.
struct RunOptions {
  std::vector<std::string> overrides;  ///< "--section.key=value"
  std::string data;                    ///< token file
  std::string out;                     ///< RUN
  Start start = Start::fresh;
  Changes changes = Changes::refuse;
  Observer observer;
  std::function<bool()> stop;  ///< polled after every step and while validating: true makes a checkpoint and returns
  std::string command;         ///< what was typed, for the run's records; may be empty
  /// FLOP/s that a device can do in a dtype, to state MFU by; nothing where that would be a guess. May be empty.
  std::function<std::optional<double>(Device device, DType dtype)> peak_flops;
};

struct TrainOptions : RunOptions {
  std::string config;  ///< TOML; where empty, RUN/config.toml when resuming, else the defaults
};

struct RunResult {
  enum class Status { finished, stopped };
  Status status = Status::finished;
  int64_t step = 0, steps = 0;
  std::string checkpoint;  ///< the newest
};

/// Trains to the end, or until `stop`. Throws Error: (usage) where a fresh run's folder is not empty, a resumed one was
/// changed (both values are named) or another process trains there; (input) for config, data (every token is looked at
/// before the first step) or checkpoints that do not fit; (memory), before anything is built, where weights, gradients
/// and moments do not fit; (disk); (numerical) after kMaxSkippedInARow, with a checkpoint of what was reached.
///
/// Resuming takes the newest valid checkpoint, or starts from the beginning where the run never made one (then the
/// folder holds a run of this config, or nothing); Error(input) where its rows tell that it did, and none is there. It
/// is bit-identical to never having stopped: weights, moments, schedule, data, losses, validations. Rows of
/// metrics.jsonl after that checkpoint are dropped. Results do not depend on the number of threads, which is the
/// caller's again afterwards.
///
/// Where data.validation names a file, it is validated on after every validate_every-th step and the last one, before
/// that step's checkpoint. A validation that was stopped is made when the run resumes. With keep_best each one that is
/// lower than all before makes a checkpoint, and the best checkpoint, as best_checkpoint() finds it, is not removed.
RunResult train_run(const TrainOptions& options);

/// The config train_run would use, and where each of its values came from, for --print-config.
TrainConfig resolve_train_config(const TrainOptions& options, Origins* origins = nullptr);

struct AdaptOptions : RunOptions {
  std::string config;  ///< TOML; where empty, RUN/config.toml when resuming, else what follows from the source
  std::string from;    ///< a model folder, a checkpoint or a run folder; not looked at where a checkpoint is resumed
  /// The pattern, one value or one a layer; an empty list leaves the default (1, 0, 0) or what the overrides say.
  std::vector<int64_t> dilation, window, initial;
  std::string pattern;  ///< in place of the three: a pattern file, models/pattern_file.h
};

/// Adapts trained weights to one pattern: joint off, no warm-up, nothing frozen, fresh moments, a tenth of the source
/// run's peak rate, cosine to its final rate. Steps are a tenth of the source run's, at least 1; batch, seq_len and all
/// else are as there, but no validation. Where `from` is a bare model folder they follow from TrainConfig's defaults.
/// With a config file, all but the pattern's lists is what it says. Overrides win. The model's tokenizer stays, with
/// its vocabulary and end-of-text, where neither names another one (follow_tokens()).
/// The checkpoints' config.json records the pattern. Errors and resuming as in train_run; Error(usage) too where a
/// fresh run's sizes or tokenizer are not the model's. Source: RAT+, arXiv 2602.18196, resolution adaptation.
RunResult adapt_run(const AdaptOptions& options);
TrainConfig resolve_adapt_config(const AdaptOptions& options, Origins* origins = nullptr);

}  // namespace ratel::train
