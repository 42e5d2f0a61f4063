#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>

#include "io/file.h"
#include "models/model_folder.h"
#include "models/pattern_file.h"
#include "train/run.h"

namespace ratel::train {
namespace {

constexpr double kAdaptRate = 0.1;       // of the peak rate of pretraining
constexpr int64_t kAdaptStepsPart = 10;  // a tenth of the steps of pretraining

constexpr std::array<std::string_view, 3> kPatternKeys{"train.dilation", "train.window", "train.initial"};

/// True where the folder has a config that the run goes on with.
bool resumes_with_config(const RunOptions& options) {
  return options.start == Start::resume && io::path_exists(config_path(options.out));
}

/// What is known of the data beside its ids.
std::optional<io::TokenSidecar> sidecar_of(const RunOptions& options) {
  return options.data.empty() ? std::nullopt : io::read_token_sidecar(options.data);
}

/// A model that is adapted.
struct Source {
  TrainConfig config;  ///< of its run; the defaults with the model's sizes where it is of none
  KnownTokens::Source tokens;
};

Source read_source(const AdaptOptions& options) {
  check(!options.from.empty(),
        "adapt: expected a model folder, a checkpoint or a run folder to start from\nhint: --from RUN");
  const std::string folder = resolve_model_dir(options.from);
  Source source;
  std::optional<Tokenizer> tokenizer;
  if (io::path_exists(folder + "/state.json")) {
    const CheckpointState state = read_checkpoint_state(folder);
    source.config = state.config;
    source.tokens.eos = state.config.data.eos;
    tokenizer = state.tokenizer;
  } else {
    const ModelDescription description = open_model(folder).description;
    source.config.model = description.config;
    tokenizer = description.tokenizer;
  }
  source.config.data.tokenizer = tokenizer ? tokenizer->name() : "none";
  source.tokens.path = options.from;
  source.tokens.tokenizer = source.config.data.tokenizer;
  source.tokens.vocab_size = source.config.model.vocab_size;
  return source;
}

/// What follows from the source where no file says anything.
TrainConfig adapted_config(const Source& source, Origins& origins) {
  TrainConfig config = source.config;
  for (const ConfigField& field : config_fields()) origins[field.key] = source.tokens.path;
  if (!source.tokens.eos) origins.erase("data.eos");
  const auto adapt = [&](const char* key, auto& value, auto adapted) {
    value = adapted;
    origins[key] = "adapt";
  };
  adapt("optimizer.peak_rate", config.optimizer.peak_rate, config.optimizer.peak_rate * kAdaptRate);
  adapt("optimizer.warmup_fraction", config.optimizer.warmup_fraction, 0.0);
  adapt("train.steps", config.train.steps, std::max<int64_t>(1, config.train.steps / kAdaptStepsPart));
  adapt("train.joint", config.train.joint, Joint::off);
  adapt("train.dilation", config.train.dilation, LayerValues{1});
  adapt("train.window", config.train.window, LayerValues{0});
  adapt("train.initial", config.train.initial, LayerValues{0});
  adapt("data.validation", config.data.validation, std::string());
  return config;
}

/// The source as the folder of a run that resumes remembers it: nothing else is needed of it, and it may be gone.
KnownTokens::Source remembered_source(const std::string& run) {
  const TrainConfig config = load_config(config_path(run), {});
  return {config_path(run), config.data.tokenizer, config.model.vocab_size, config.data.eos};
}

/// Puts in the pattern of the options, and over it that of the overrides.
void apply_pattern(TrainConfig& config, const AdaptOptions& options, Origins& origins) {
  const auto listed = [&](const char* key, LayerValues& value, const std::vector<int64_t>& list, const char* option) {
    if (list.empty()) return;
    value = list;
    origins[key] = option;
  };
  listed("train.dilation", config.train.dilation, options.dilation, "--dilation");
  listed("train.window", config.train.window, options.window, "--window");
  listed("train.initial", config.train.initial, options.initial, "--initial");
  if (!options.pattern.empty()) {
    config.set_pattern(read_pattern_file(options.pattern, config.model));
    for (const std::string_view key : kPatternKeys) origins[std::string(key)] = options.pattern;
  }
  std::vector<std::string> overrides;
  std::ranges::copy_if(options.overrides, std::back_inserter(overrides), [](std::string_view text) {
    if (text.starts_with("--")) text.remove_prefix(2);
    return std::ranges::find(kPatternKeys, text.substr(0, text.find('='))) != kPatternKeys.end();
  });
  apply_overrides(config, overrides, &origins);
}

/// Throws Error(usage) where a config is not of the model that is to be adapted.
void check_sizes(const TrainConfig& config, const TrainConfig& source, const AdaptOptions& options) {
  for (const ConfigChange& change : changes_between(source, config))
    if (change.key.starts_with("model."))
      fail("adapt: ", change.key, " is ", change.is, " in the configuration, and ", change.was, " in ", options.from);
}

}  // namespace

TrainConfig resolve_train_config(const TrainOptions& options, Origins* origins) {
  const bool resumes = options.config.empty() && resumes_with_config(options);
  return load_config(resumes ? config_path(options.out) : options.config, options.overrides, {sidecar_of(options), {}},
                     origins);
}

TrainConfig resolve_adapt_config(const AdaptOptions& options, Origins* origins) {
  const bool resumes = resumes_with_config(options);
  const std::optional<Source> source = resumes ? std::nullopt : std::optional(read_source(options));
  const KnownTokens known{sidecar_of(options), source ? source->tokens : remembered_source(options.out)};
  Origins came_from;
  TrainConfig config;
  if (resumes || !options.config.empty()) {
    config = load_config(options.config.empty() ? config_path(options.out) : options.config, options.overrides, known,
                         &came_from);
    if (source) check_sizes(config, source->config, options);
  } else {
    config = adapted_config(*source, came_from);
    apply_overrides(config, options.overrides, &came_from);
    follow_tokens(config, came_from, known);
  }
  apply_pattern(config, options, came_from);
  config.validate();
  if (origins != nullptr) *origins = std::move(came_from);
  return config;
}

}  // namespace ratel::train
