#include "train/run.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "core/free_memory.h"
#include "io/file.h"
#include "io/metrics_file.h"
#include "io/token_file.h"
#include "models/model_folder.h"
#include "models/tokenizer_file.h"
#include "ops/matmul.h"
#include "ops/threads.h"
#include "text/token_origin.h"
#include "train/data.h"
#include "train/flops.h"
#include "train/optimizer.h"
#include "train/run_records.h"
#include "train/training_memory.h"
#include "train/weights.h"

namespace ratel::train {
namespace {

/// Fills the parameters of a run that starts from the beginning.
using Initialize = std::function<void(const nn::ParamStore& parameters)>;

void check_folder(const RunOptions& options) {
  check(!options.out.empty(), "expected a run folder, found none");
  if (is_empty_run(options.out)) return;
  check(options.start == Start::resume, options.out,
        ": expected no run in this folder, found one\nhint: --resume goes on with it; or choose another folder");
  if (!io::path_exists(config_path(options.out)))
    fail_input(options.out, "expected a run folder to resume, found no config.toml in it");
}

/// Throws where what a resumed run computes is not what it was started with, unless that is allowed. Validation may be
/// taken up or given up; on other data its losses could not be compared.
void check_unchanged(const CheckpointState& was, const CheckpointState& is, const RunOptions& options) {
  std::vector<ConfigChange> changes = changes_between(was.config, is.config);
  if (was.tokenizer != is.tokenizer)
    changes.push_back({"data.tokenizer", described(was.tokenizer), described(is.tokenizer)});
  const auto compare = [&](const char* key, const DataIdentity& before, const DataIdentity& now) {
    const auto text = [](const DataIdentity& d) {
      return concat_text(d.tokens, " tokens of fingerprint ", d.fingerprint.substr(0, 16));
    };
    if (before != now) changes.push_back({key, text(before), text(now)});
  };
  compare("data", was.data, is.data);
  if (was.validation_data && is.validation_data) compare("validation data", *was.validation_data, *is.validation_data);
  if (changes.empty()) return;
  std::string list;
  for (const ConfigChange& change : changes)
    list += concat_text(list.empty() ? "" : "; ", change.key, " was ", change.was, ", is ", change.is);
  if (options.changes == Changes::refuse)
    fail(options.out, ": the run was started differently: ", list,
         "\nhint: resume with what it was started with, or pass --allow-changes");
  if (options.observer.warn) options.observer.warn(concat_text("resuming with changes: ", list));
}

/// Throws where a run without a checkpoint must have made one: its rows tell of later steps. To start from the
/// beginning would drop them.
void check_never_saved(const std::string& run) {
  if (!io::path_exists(config_path(run)) || !io::path_exists(metrics_path(run))) return;
  int64_t every = 0, last = 0;
  try {
    every = load_config(config_path(run), {}).train.checkpoint_every;
  } catch (const Error&) {
    return;  // it does not say
  }
  try {
    io::visit_metrics(metrics_path(run), [&](const io::Json& row) {
      if (const io::Json* at = row.find("step"); at != nullptr && at->is_int()) last = std::max(last, at->as_int());
    });
  } catch (const Error&) {
    // What a crash left; the rows before it have told enough.
  }
  if (last > every)
    fail_input(checkpoints_path(run), "expected the checkpoints of a run of ", last, " steps, one every ", every,
               ", found none that is valid\nhint: is the disk they are on mounted? Without them, start anew in another "
               "folder");
}

/// The run's number of threads; the caller's own again at the end.
class RunThreads {
 public:
  explicit RunThreads(const TrainConfig& config) { set_num_threads(static_cast<int>(config.train.threads)); }
  ~RunThreads() { set_num_threads(before_); }
  RunThreads(const RunThreads&) = delete;
  RunThreads& operator=(const RunThreads&) = delete;

 private:
  int before_ = num_threads();
};

/// One run from the first step of this session to its last.
class Session {
 public:
  Session(const TrainConfig& config, const RunOptions& options, const RunLock& lock, std::optional<Tokenizer> tokenizer,
          TrainData data, std::optional<Validator> validator)
      : config_(config),
        options_(options),
        lock_(lock),
        data_(std::move(data)),
        validator_(std::move(validator)),
        weights_(config),
        model_(weights_.computed(), config.model),
        optimizer_(weights_.masters(), weights_.computed(), config.optimizer),
        trainer_(config_, model_, optimizer_,
                 [this](int64_t first, int64_t count) { return data_.batch(first, count); }) {
    state_.tokenizer = std::move(tokenizer);
  }

  /// Takes up the newest checkpoint, or starts from the beginning.
  void begin(const Initialize& initialize) {
    state_.data = {data_.file().fingerprint(), data_.file().size()};
    if (validator_) state_.validation_data = validator_->identity();
    state_.config = config_;
    std::optional<CheckpointEntry> checkpoint;
    if (options_.start == Start::resume) checkpoint = newest_checkpoint(options_.out, options_.observer.warn);
    if (checkpoint) {
      const CheckpointState state = read_checkpoint_state(checkpoint->path);
      check_unchanged(state, state_, options_);
      if (!validator_) state_.validation_data = state.validation_data;  // what a later session's is compared with
      load_checkpoint(checkpoint->path, state, weights_.masters(), optimizer_);
      trainer_.set_progress(state.progress);
      saved_ = checkpoint->path;
    } else {
      if (options_.start == Start::resume) check_never_saved(options_.out);
      // In an empty folder there is nothing to miss: such a command starts a run and takes it up again.
      if (options_.start == Start::resume && options_.observer.warn && !is_empty_run(options_.out))
        options_.observer.warn(options_.out + ": no checkpoint to resume from; starting from the beginning");
      if (initialize) initialize(weights_.masters());
    }
    // Not only when the first steps are done.
    if (!trainer_.finished()) require_space_for_checkpoint(options_.out, weights_.masters(), optimizer_);
    optimizer_.update_copies();
    const int64_t missing = io::truncate_after(metrics_path(options_.out), step(), options_.observer.warn);
    if (missing > 0) {
      prune_from_ = config_.train.keep_best ? missing : 0;
      if (options_.observer.warn)
        options_.observer.warn(concat_text(
            metrics_path(options_.out), ": rows up to step ", missing, " are missing",
            config_.train.keep_best ? ": which checkpoint is the best is not known, and none of theirs is removed"
                                    : ""));
    }
    io::write_file_atomically(config_path(options_.out), to_toml(config_));
    validations_ = validations_of(options_.out);
    validated_step_ = validations_.empty() ? -1 : validations_.back().step;
    records_.emplace(options_.out, config_, step(), options_.command);
    if (options_.peak_flops) peak_flops_ = options_.peak_flops(config_.device(), config_.train.dtype);
    flops_a_token_ = training_flops(config_.model, config_.pattern(), config_.data.seq_len);
    if (config_.train.joint != Joint::off)
      flops_a_token_ += training_flops(config_.model, config_.sparse_pattern(), config_.data.seq_len);
    flops_a_token_ /= static_cast<double>(config_.data.seq_len);
    if (options_.observer.start) options_.observer.start(config_, weights_.masters().numel(), step());
  }

  RunResult train() {
    const Observer& observer = options_.observer;
    // One that the end of an earlier session cut short; its checkpoint is there.
    const bool missed = validator_ && validator_->is_due(step()) && !is_validated();
    const bool new_best = missed && !stops() && validate();
    bool stopped = missed && !is_validated();
    if (new_best) save_and_prune();
    while (!stopped && !trainer_.finished()) {
      StepReport report = trainer_.step([&](const SkippedUpdate& skipped) {
        last_skipped_ = describe(skipped);
        if (observer.skipped) observer.skipped(skipped);
      });
      if (peak_flops_) report.mfu = flops_a_token_ * report.tokens_per_second / *peak_flops_;
      records_->step(report);
      if (observer.step) observer.step(report);
      if (trainer_.diverged()) give_up();
      stopped = stops();
      bool is_best = false;
      if (!stopped && validator_ && validator_->is_due(step())) {
        is_best = validate();
        stopped = !is_validated();
      }
      if (stopped || is_best || trainer_.finished() || step() % config_.train.checkpoint_every == 0) save_and_prune();
    }
    const bool finished = trainer_.finished() && (!validator_ || is_validated());
    return {finished ? RunResult::Status::finished : RunResult::Status::stopped, step(), config_.train.steps, saved_};
  }

 private:
  [[nodiscard]] int64_t step() const { return trainer_.progress().step; }
  [[nodiscard]] bool stops() const { return options_.stop && options_.stop(); }
  [[nodiscard]] bool is_validated() const { return validated_step_ == step(); }

  /// Returns true where a checkpoint must be made of what was found. Stopped, it leaves nothing.
  bool validate() {
    auto report = validator_->run(model_, trainer_.progress(), options_.stop);
    if (!report) return false;
    validated_step_ = report->step;
    report->is_best = std::isfinite(report->loss) && std::ranges::none_of(validations_, [&](const Validated& earlier) {
                        return earlier.loss <= report->loss;
                      });
    validations_.push_back({report->step, report->loss});
    records_->validation(*report);
    if (options_.observer.validation) options_.observer.validation(*report);
    return report->is_best && config_.train.keep_best;
  }

  void save() {
    lock_.check_folder();
    // Of 64 blocks of it: what is changed between them goes unnoticed.
    if (data_.file().fingerprint() != state_.data.fingerprint)
      fail_input(options_.data,
                 "it was changed while the run read it, and what was learned since the last checkpoint "
                 "may be of other data\nhint: put the file back, and go on from there with --resume");
    records_->sync();  // a checkpoint without its rows would leave a gap in the metrics of a resumed run
    state_.progress = trainer_.progress();
    state_.epoch = state_.progress.samples / data_.windows();
    state_.position = state_.progress.samples % data_.windows();
    state_.optimizer_steps = optimizer_.steps();
    saved_ = save_checkpoint(options_.out, state_, weights_.masters(), optimizer_);
    if (options_.observer.checkpoint) options_.observer.checkpoint(saved_);
  }

  /// The step of the best checkpoint, which is kept; nothing where none is.
  [[nodiscard]] std::optional<int64_t> best() const {
    if (!config_.train.keep_best) return {};
    return best_step(validations_, [this](int64_t step) { return io::is_folder(checkpoint_path(options_.out, step)); });
  }

  void save_and_prune() {
    save();
    prune_checkpoints(options_.out, config_.train.keep_checkpoints, step(), best(), prune_from_);
  }

  /// Keeps what was reached, and all older checkpoints: one of them may be from before the trouble. But that of the
  /// step before goes where the run gave up there, too: whoever resumes it again and again must not fill a disk.
  [[noreturn]] void give_up() {
    save();
    if (trainer_.progress().skipped_in_a_row > kMaxSkippedInARow && best() != step() - 1)
      remove_checkpoint(checkpoint_path(options_.out, step() - 1));
    throw Error(concat_text("training: ", kMaxSkippedInARow, " steps in a row were not finite; ", last_skipped_,
                            "; the weights before them are in ", saved_,
                            "\nhint: a lower --optimizer.peak_rate, or a longer --optimizer.warmup_fraction"),
                ErrorKind::numerical);
  }

  const TrainConfig& config_;
  const RunOptions& options_;
  const RunLock& lock_;
  TrainData data_;
  std::optional<Validator> validator_;
  Weights weights_;
  RatPlus model_;
  Optimizer optimizer_;
  Trainer trainer_;
  std::optional<RunRecords> records_;
  CheckpointState state_;               // what of it does not change while this session lasts
  std::vector<Validated> validations_;  // all of the run so far
  int64_t validated_step_ = -1;         // the last step that has its row
  int64_t prune_from_ = 0;              // checkpoints up to this step are not known to be worse than later ones
  double flops_a_token_ = 0;            // of all passes of a batch
  std::optional<double> peak_flops_;
  std::string saved_, last_skipped_;
};

/// Throws Error(memory) where what training keeps of every parameter, and of a batch, does not fit into what is free.
void require_memory_for(const TrainConfig& config) {
  if (config.device().is_cuda()) return;  // whose pool says so itself
  const int64_t parameters = config.model.parameter_count(), rows = config.data.batch_size / config.data.accumulate;
  require_memory(parameter_bytes(parameters, config.train.dtype),
                 concat_text("training: weights, gradients and moments of ", parameters, " parameters"));
  const ComputedBatch part{.sequences = rows,
                           .T = config.data.seq_len,
                           .parts = config.data.accumulate,
                           .recompute = config.train.recompute ? Recompute::blocks : Recompute::nothing};
  require_memory(step_bytes(config.model, part, config.train.dtype),
                 concat_text("training: the activations of ", rows, " x ", config.data.seq_len,
                             " tokens and all that is kept of the parameters"),
                 "a smaller --data.batch_size, a larger --data.accumulate, or --train.recompute=true");
}

/// What config.data.tokenizer names; of a run that resumes and whose file is gone, what its newest checkpoint kept.
std::optional<Tokenizer> tokenizer_of_run(const TrainConfig& config, const RunOptions& options) {
  const std::string& name = config.data.tokenizer;
  if (options.start == Start::resume && name.ends_with(".model") && !io::path_exists(name))
    if (const auto newest = newest_checkpoint(options.out)) return load_tokenizer(newest->path);
  return config.open_tokenizer();
}

RunResult run(const TrainConfig& config, const RunOptions& options, const std::optional<Tokenizer>& tokenizer,
              const Initialize& initialize) {
  check_present(config.device());
  config.description(tokenizer).validate();
  check_origin(options.data, tokenizer, config.data.eos);
  TrainData data(io::TokenFile::open(options.data, config.model.vocab_size), config.data.seq_len,
                 static_cast<uint64_t>(config.data.seed), config.data.eos);
  check_folder(options);
  require_memory_for(config);
  if (config.train.keep_best && config.data.validation.empty() && options.observer.warn)
    options.observer.warn("train.keep_best: without --validation FILE.bin no checkpoint is the best");
  if (config.train.autotune && config.device().is_cuda() && options.start == Start::resume && options.observer.warn)
    options.observer.warn("train.autotune: the run goes on with other last bits than if it had not stopped");
  std::optional<Validator> validator;
  if (!config.data.validation.empty()) {
    check_origin(config.data.validation, tokenizer, config.data.eos);
    validator.emplace(config, options.stop);
    if (options.observer.warn && validator->identity() == DataIdentity{data.file().fingerprint(), data.file().size()})
      options.observer.warn(config.data.validation + ": the validation data is the training data");
  }
  data.file().validate(options.stop);  // an id out of range is to end the run before its first step, not in the middle
  const RunLock lock(options.out);
  check_folder(options);  // again: another process may have been faster
  remove_leftovers(options.out);
  const RunThreads threads(config);
  std::optional<cuda::GemmChoiceGuard> gemms;
  if (config.train.autotune) gemms.emplace(cuda::GemmChoice::timed);
  Session session(config, options, lock, tokenizer, std::move(data), std::move(validator));
  session.begin(initialize);
  return session.train();
}

}  // namespace

RunResult train_run(const TrainOptions& options) {
  const TrainConfig config = resolve_train_config(options);
  return run(config, options, tokenizer_of_run(config, options), {});
}

RunResult adapt_run(const AdaptOptions& options) {
  const TrainConfig config = resolve_adapt_config(options);
  const std::optional<Tokenizer> tokenizer = tokenizer_of_run(config, options);
  return run(config, options, tokenizer, [&](const nn::ParamStore& parameters) {
    check(!options.from.empty(),
          "adapt: expected a model folder, a checkpoint or a run folder to start from\nhint: --from RUN");
    const std::string source = resolve_model_dir(options.from, options.observer.warn);
    const LoadedModel loaded = load_model(source, master_dtype(config.train.dtype));
    const std::optional<Tokenizer>& known = loaded.description.tokenizer;
    check(!known || !tokenizer || *known == *tokenizer, "data.tokenizer: expected that of ", source, ", ",
          described(known), ", found ", described(tokenizer));
    parameters.load(loaded.store.parameters(), source);
  });
}

}  // namespace ratel::train
