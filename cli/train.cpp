#include "train/run.h"

#include <algorithm>

#include "cli/commands.h"
#include "cli/gpu.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "cli/training_view.h"
#include "io/report.h"

namespace ratel::cli {
namespace {

std::vector<std::string> as_texts(const std::vector<Override>& overrides) {
  std::vector<std::string> texts;
  for (const Override& one : overrides) texts.push_back(concat_text(one.key, "=", one.value));
  return texts;
}

/// The options that train and adapt share.
struct RunArguments {
  std::string data, out, device, validation;
  std::vector<Override> overrides;
  bool resume = false, allow_changes = false, print_config = false, json = false;

  void add_to(Options& options) {
    options.text("--data", "FILE.bin", data, "Token file, as ratel tokenize writes it");
    options.text("--validation", "FILE.bin", validation,
                 "Token file that is not trained on, to validate with; short for --data.validation");
    options.text("--out", "RUN", out, "Folder of the run: config, metrics.jsonl, TensorBoard events, log, checkpoints");
    options.text("--device", "DEVICE", device, "Where: cpu, cuda or cuda:N; short for --train.device [cpu]");
    options.flag("--resume", resume, "Go on from the newest checkpoint of RUN");
    options.flag("--allow-changes", allow_changes, "Resume although configuration or data are not those of the start");
    options.flag("--print-config", print_config,
                 "Print the configuration that would be used and where each value is from");
    options.flag("--json", json, "Print one JSON object at the end");
    options.overrides(overrides);
  }

  /// Copies what it holds into the options of a run.
  template <class Target>
  void copy_to(Target& target) const {
    target.data = data;
    target.out = out;
    target.overrides = as_texts(overrides);
    if (!device.empty()) target.overrides.push_back("train.device=" + device);
    if (!validation.empty()) target.overrides.push_back("data.validation=" + validation);
    target.start = resume ? train::Start::resume : train::Start::fresh;
    target.changes = allow_changes ? train::Changes::allow : train::Changes::refuse;
  }
};

template <class Target, class Resolve>
int show_config(const Target& target, Resolve&& resolve, bool json) {
  train::Origins origins;
  const train::TrainConfig config = resolve(target, &origins);
  if (json)
    print_json(train::to_json(config));
  else
    print(train::to_toml(config, &origins));
  return 0;
}

std::string about_fields() {
  std::string text = "Keys of the configuration:\n";
  for (const train::ConfigField& field : train::config_fields())
    text += concat_text("  ", field.key, std::string(field.key.size() < 28 ? 28 - field.key.size() : 1, ' '),
                        field.about, "\n");
  return text;
}

/// The command line, quoted where a shell would have to be told.
std::string command_text(std::string_view name, Arguments args) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./,:+@%";
  std::string text = concat_text("ratel ", name);
  for (const std::string& argument : args) {
    if (!argument.empty() && argument.find_first_not_of(kPlain) == std::string::npos) {
      text += " " + argument;
      continue;
    }
    text += " '";
    for (const char c : argument) text += c == '\'' ? "'\\''" : std::string(1, c);
    text += "'";
  }
  return io::one_line(text, 4096);
}

template <class Target, class Run>
int run_to_end(Target& target, const RunArguments& common, Run&& run) {
  check(!common.data.empty(), "--data is missing");
  check(!common.out.empty(), "--out is missing");
  if (common.resume && train::is_empty_run(common.out)) note(common.out, ": nothing to resume, starting anew");
  catch_signals();
  outlive_readers();
  TrainingView view(target.command, common.out);
  target.peak_flops = peak_flops;
  target.observer = view.observer();
  target.stop = stop_requested;
  try {
    return view.conclude(run(target), common.json);
  } catch (const std::exception& error) {
    view.failed(error.what());
    throw;
  }
}

}  // namespace

int run_train(Arguments args) {
  RunArguments common;
  std::string config;
  Options options("train", "Pretrains a model: dense, and jointly through a sparse pattern.");
  options.text("--config", "FILE.toml", config, "Configuration [that of RUN with --resume, else the defaults]");
  common.add_to(options);
  options.note(about_fields());
  options.example("ratel train --config configs/tiny.toml --data train.bin --out runs/tiny");
  options.example("ratel train --config configs/tiny.toml --data train.bin --out runs/tiny --resume");
  options.example("ratel train --config configs/tiny.toml --data train.bin --out runs/b --train.steps=2000");
  if (options.parse(args) == Options::Parsed::help) return 0;

  train::TrainOptions target;
  common.copy_to(target);
  target.config = config;
  if (common.print_config) return show_config(target, train::resolve_train_config, common.json);
  target.command = command_text("train", args);
  return run_to_end(target, common, train::train_run);
}

int run_adapt(Arguments args) {
  RunArguments common;
  train::AdaptOptions target;
  Options options("adapt", "Adapts a pretrained model to one sparse pattern, with a small learning rate.");
  options.text("--from", "RUN|MODEL", target.from,
               "Run folder, RUN/best, checkpoint or model folder to start from (required without --resume)");
  options.text("--config", "FILE.toml", target.config,
               "Configuration [that of the source with a tenth of its rate and steps; with --resume that of RUN]");
  options.integers("--dilation", "D[,D...]", target.dilation,
                   "Every D-th key is seen; -1: none. One value, or one a layer (this or --pattern is required)");
  options.integers("--window", "W[,W...]", target.window, "The W keys before a query are seen too [0]");
  options.integers("--initial", "S[,S...]", target.initial, "The first S keys are seen too [0]");
  options.text("--pattern", "FILE", target.pattern,
               "In place of these: a pattern file (TOML or JSON), by layer and head");
  common.add_to(options);
  options.note(about_fields());
  options.example("ratel adapt --from runs/tiny --dilation 16 --data train.bin --out runs/tiny-d16");
  options.example("ratel adapt --from runs/1b --config configs/1b_adapt.toml --dilation 64 --data train.bin --out d64");
  options.example("ratel adapt --from runs/tiny --dilation 1,16,16,64 --window 32 --data train.bin --out runs/mixed");
  if (options.parse(args) == Options::Parsed::help) return 0;

  check(!target.from.empty() || common.resume, "--from is missing\nhint: ratel adapt --help");
  const bool overridden = std::any_of(common.overrides.begin(), common.overrides.end(),
                                      [](const Override& one) { return one.key == "train.dilation"; });
  const bool listed = !target.dilation.empty() || !target.window.empty() || !target.initial.empty();
  check(target.pattern.empty() || !listed, "--pattern: expected no --dilation, --window or --initial beside it");
  const bool configured = !target.config.empty() || common.resume;
  check(!target.dilation.empty() || !target.pattern.empty() || overridden || configured,
        "--dilation is missing, or --pattern\nhint: ratel adapt --help");
  common.copy_to(target);
  if (common.print_config) return show_config(target, train::resolve_adapt_config, common.json);
  target.command = command_text("adapt", args);
  return run_to_end(target, common, train::adapt_run);
}

}  // namespace ratel::cli
