#include "train/run.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/free_memory.h"
#include "io/file.h"
#include "io/metrics_file.h"
#include "io/token_file.h"
#include "models/model_folder.h"
#include "models/pattern_file.h"
#include "models/tokenizer_file.h"
#include "ops/threads.h"
#include "text/token_origin.h"
#include "train/data.h"
#include "train/optimizer.h"
#include "train/weights.h"

namespace ratel::train {
namespace {

constexpr double kAdaptRate = 0.1;       // of the peak rate of pretraining
constexpr int64_t kAdaptStepsPart = 10;  // a tenth of the steps of pretraining

/// Fills the parameters of a run that starts from the beginning.
using Initialize = std::function<void(const nn::ParamStore& parameters)>;

bool resumes_with_config(const RunOptions& options) {
  return options.start == Start::resume && io::path_exists(config_path(options.out));
}

void check_folder(const RunOptions& options) {
  check(!options.out.empty(), "expected a run folder, found none");
  if (is_empty_run(options.out)) return;
  check(options.start == Start::resume, options.out,
        ": expected no run in this folder, found one\nhint: --resume goes on with it; or choose another folder");
  if (!resumes_with_config(options))
    fail_input(options.out, "expected a run folder to resume, found no config.toml in it");
}

/// Throws where what a resumed run computes is not what it was started with, unless that is allowed.
void check_unchanged(const CheckpointState& was, const TrainConfig& config, const std::optional<Tokenizer>& tokenizer,
                     const DataIdentity& data, const RunOptions& options) {
  std::vector<ConfigChange> changes = changes_between(was.config, config);
  if (was.tokenizer != tokenizer) changes.push_back({"data.tokenizer", described(was.tokenizer), described(tokenizer)});
  if (was.data != data) {
    const auto text = [](const DataIdentity& d) {
      return concat_text(d.tokens, " tokens of fingerprint ", d.fingerprint.substr(0, 16));
    };
    changes.push_back({"data", text(was.data), text(data)});
  }
  if (changes.empty()) return;
  std::string list;
  for (const ConfigChange& change : changes)
    list += concat_text(list.empty() ? "" : "; ", change.key, " was ", change.was, ", is ", change.is);
  if (options.changes == Changes::refuse)
    fail(options.out, ": the run was started differently: ", list,
         "\nhint: resume with what it was started with, or pass --allow-changes");
  if (options.observer.warn) options.observer.warn(concat_text("resuming with changes: ", list));
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
  Session(const TrainConfig& config, const RunOptions& options, std::optional<Tokenizer> tokenizer, TrainData data)
      : config_(config),
        options_(options),
        tokenizer_(std::move(tokenizer)),
        data_(std::move(data)),
        identity_{data_.file().fingerprint(), data_.file().size()},
        weights_(config),
        model_(nn::Scope(weights_.computed()), config.model),
        optimizer_(weights_.masters(), weights_.computed(), config.optimizer),
        trainer_(config_, model_, optimizer_,
                 [this](int64_t first, int64_t count) { return data_.batch(first, count); }) {}

  /// Takes up the newest checkpoint, or starts from the beginning.
  void begin(const Initialize& initialize) {
    std::optional<CheckpointEntry> checkpoint;
    if (options_.start == Start::resume) checkpoint = newest_checkpoint(options_.out, options_.observer.warn);
    if (checkpoint) {
      const CheckpointState state = read_checkpoint_state(checkpoint->path);
      check_unchanged(state, config_, tokenizer_, identity_, options_);
      load_checkpoint(checkpoint->path, state, weights_.masters(), optimizer_);
      trainer_.set_progress(state.progress);
      saved_ = checkpoint->path;
    } else {
      // In an empty folder there is nothing to miss: such a command starts a run and takes it up again.
      if (options_.start == Start::resume && options_.observer.warn && !is_empty_run(options_.out))
        options_.observer.warn(options_.out + ": no checkpoint to resume from; starting from the beginning");
      if (initialize) initialize(weights_.masters());
    }
    optimizer_.update_copies();
    io::write_file_atomically(config_path(options_.out), to_toml(config_));
    io::truncate_after(metrics_path(options_.out), step());
    if (options_.observer.start) options_.observer.start(config_, weights_.masters().numel(), step());
  }

  RunResult train() {
    io::MetricsFile metrics(metrics_path(options_.out));
    const Observer& observer = options_.observer;
    bool stopped = false;
    while (!stopped && !trainer_.finished()) {
      const StepReport report = trainer_.step([&](const SkippedUpdate& skipped) {
        last_skipped_ = describe(skipped);
        if (observer.skipped) observer.skipped(skipped);
      });
      metrics.append(to_json(report));
      if (observer.step) observer.step(report);
      if (trainer_.diverged()) give_up(metrics);
      stopped = options_.stop && options_.stop();
      if (stopped || trainer_.finished() || step() % config_.train.checkpoint_every == 0) {
        save(metrics);
        prune_checkpoints(options_.out, config_.train.keep_checkpoints, step());
      }
    }
    return {trainer_.finished() ? RunResult::Status::finished : RunResult::Status::stopped, step(), config_.train.steps,
            saved_};
  }

 private:
  [[nodiscard]] int64_t step() const { return trainer_.progress().step; }

  void save(io::MetricsFile& metrics) {
    metrics.sync();  // a checkpoint without its rows would leave a gap in the metrics of a resumed run
    CheckpointState state;
    state.progress = trainer_.progress();
    state.epoch = state.progress.samples / data_.windows();
    state.position = state.progress.samples % data_.windows();
    state.optimizer_steps = optimizer_.steps();
    state.data = identity_;
    state.config = config_;
    state.tokenizer = tokenizer_;
    saved_ = save_checkpoint(options_.out, state, weights_.masters(), optimizer_);
    if (options_.observer.checkpoint) options_.observer.checkpoint(saved_);
  }

  /// Keeps what was reached, and all older checkpoints: one of them may be from before the trouble.
  [[noreturn]] void give_up(io::MetricsFile& metrics) {
    save(metrics);
    throw Error(concat_text("training: ", kMaxSkippedInARow, " steps in a row were not finite; ", last_skipped_,
                            "; the weights before them are in ", saved_,
                            "\nhint: a lower --optimizer.peak_rate, or a longer --optimizer.warmup_fraction"),
                ErrorKind::numerical);
  }

  const TrainConfig& config_;
  const RunOptions& options_;
  std::optional<Tokenizer> tokenizer_;
  TrainData data_;
  DataIdentity identity_;
  Weights weights_;
  RatPlus model_;
  Optimizer optimizer_;
  Trainer trainer_;
  std::string saved_, last_skipped_;
};

/// Throws Error(memory) where what training keeps of every parameter does not fit into what is free.
void require_memory_for(const TrainConfig& config) {
  if (config.device().is_cuda()) return;  // whose pool says so itself
  const int64_t parameters = config.model.parameter_count();
  const size_t weight = size_of(config.train.dtype), wide = size_of(accumulate_dtype(config.train.dtype));
  require_memory(parameters * static_cast<int64_t>(weight + 3 * wide),  // the gradient and both moments are wide
                 concat_text("training: weights, gradients and moments of ", parameters, " parameters"));
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
  data.file().validate(options.stop);  // an id out of range is to end the run before its first step, not in the middle
  const RunLock lock(options.out);
  check_folder(options);  // again: another process may have been faster
  remove_leftovers(options.out);
  const RunThreads threads(config);
  Session session(config, options, tokenizer, std::move(data));
  session.begin(initialize);
  return session.train();
}

/// The config of the run whose checkpoint a model folder is; where it is none, the defaults with the model's own sizes.
TrainConfig config_of_source(const std::string& folder) {
  TrainConfig config;
  std::optional<Tokenizer> tokenizer;
  if (io::path_exists(folder + "/state.json")) {
    const CheckpointState state = read_checkpoint_state(folder);
    config = state.config;
    tokenizer = state.tokenizer;
  } else {
    const ModelDescription description = load_model(folder).description;
    config.model = description.config;
    tokenizer = description.tokenizer;
    config.data.eos = tokenizer ? tokenizer->eos().value_or(-1) : -1;
  }
  config.data.tokenizer = tokenizer ? tokenizer->name() : "none";
  return config;
}

}  // namespace

TrainConfig resolve_train_config(const TrainOptions& options) {
  const bool resumes = options.config.empty() && resumes_with_config(options);
  return load_config(resumes ? config_path(options.out) : options.config, options.overrides,
                     options.data.empty() ? std::nullopt : io::read_token_sidecar(options.data));
}

RunResult train_run(const TrainOptions& options) {
  const TrainConfig config = resolve_train_config(options);
  return run(config, options, tokenizer_of_run(config, options), {});
}

TrainConfig resolve_adapt_config(const AdaptOptions& options) {
  TrainConfig config;
  if (resumes_with_config(options)) {
    apply_toml_file(config, config_path(options.out));
  } else {
    check(!options.from.empty(), "adapt: expected a model folder, a checkpoint or a run folder to start from");
    config = config_of_source(resolve_model_dir(options.from));
    config.optimizer.peak_rate *= kAdaptRate;
    config.optimizer.warmup_fraction = 0;
    config.train.steps = std::max<int64_t>(1, config.train.steps / kAdaptStepsPart);
    config.train.joint = Joint::off;
    config.train.dilation = {1};
    config.train.window = config.train.initial = {0};
  }
  if (!options.dilation.empty()) config.train.dilation = options.dilation;
  if (!options.window.empty()) config.train.window = options.window;
  if (!options.initial.empty()) config.train.initial = options.initial;
  if (!options.pattern.empty()) config.set_pattern(read_pattern_file(options.pattern, config.model));
  apply_overrides(config, options.overrides);
  config.validate();
  return config;
}

RunResult adapt_run(const AdaptOptions& options) {
  const TrainConfig config = resolve_adapt_config(options);
  const std::optional<Tokenizer> tokenizer = tokenizer_of_run(config, options);
  return run(config, options, tokenizer, [&](const nn::ParamStore& parameters) {
    check(!options.from.empty(), "adapt: expected a model folder, a checkpoint or a run folder to start from");
    const std::string source = resolve_model_dir(options.from, options.observer.warn);
    const LoadedModel loaded = load_model(source, master_dtype(config.train.dtype));
    const std::optional<Tokenizer>& known = loaded.description.tokenizer;
    check(!known || !tokenizer || *known == *tokenizer, "data.tokenizer: expected that of ", source, ", ",
          described(known), ", found ", described(tokenizer));
    parameters.load(loaded.store.parameters(), source);
  });
}

}  // namespace ratel::train
