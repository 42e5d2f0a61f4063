#include "cli/inspect_gates.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "cli/model_options.h"
#include "cli/model_tokens.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/table.h"
#include "io/report.h"
#include "io/token_file.h"
#include "models/description.h"
#include "train/evaluate.h"
#include "train/gates.h"

namespace ratel::cli {
namespace {

using io::Json;
using train::Gates;
using train::LayerGates;

/// What was asked for and what came of it.
struct Inspection {
  std::string model, data;
  train::GateOptions options;
  int64_t tokens = 8192, seq_len = 0, batch_size = 8;
  Gates gates;
};

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Json spread_of(const std::vector<double>& values) {
  return Json::object({{"mean", mean_of(values)},
                       {"min", train::quantile(values, 0)},
                       {"p10", train::quantile(values, 0.1)},
                       {"median", train::quantile(values, 0.5)},
                       {"p90", train::quantile(values, 0.9)},
                       {"max", train::quantile(values, 1)}});
}

Json as_json(const Inspection& inspection) {
  Json layers = Json::array();
  for (const LayerGates& layer : inspection.gates.layers) {
    Json gradient;
    if (layer.gradient)
      gradient = Json::object({{"share", layer.gradient->share()},
                               {"of_gate", layer.gradient->of_gate},
                               {"of_layer", layer.gradient->of_layer}});
    layers.push_back(Json::object({{"layer", static_cast<int64_t>(layers.as_array().size())},
                                   {"channels", layer.gate.size()},
                                   {"carrying", train::carrying_channels(layer)},
                                   {"gate", spread_of(layer.gate)},
                                   {"time_constant", spread_of(layer.time_constant)},
                                   {"kept", spread_of(layer.kept)},
                                   {"gradient", std::move(gradient)}}));
  }
  return Json::object({{"kind", "gates"},
                       {"model", inspection.model},
                       {"data", inspection.data.empty() ? Json() : Json(inspection.data)},
                       {"tokens", inspection.gates.tokens},
                       {"seq_len", inspection.seq_len},
                       {"pattern", to_json(inspection.options.pattern)},
                       {"loss", inspection.gates.loss},
                       {"span", inspection.options.span},
                       {"carried", train::kCarried},
                       {"layers", std::move(layers)}});
}

std::string as_text(const Inspection& inspection) {
  constexpr int kDigits = 4;
  std::vector<std::vector<std::string>> rows{{"layer", "gate", "time constant", "p10", "median", "p90", "max",
                                              concat_text("carry ", inspection.options.span), "kept", "gradient"}};
  for (const LayerGates& layer : inspection.gates.layers) {
    const auto tau = [&](double q) { return brief(train::quantile(layer.time_constant, q), kDigits); };
    rows.push_back({std::to_string(rows.size() - 1), fixed(mean_of(layer.gate), kDigits),
                    brief(mean_of(layer.time_constant), kDigits), tau(0.1), tau(0.5), tau(0.9), tau(1),
                    concat_text(train::carrying_channels(layer), "/", layer.gate.size()),
                    brief(mean_of(layer.kept), kDigits - 1),
                    layer.gradient ? fixed(100 * layer.gradient->share(), 1) + "%" : "-"});
  }
  return concat_text(
      "Gates over ", with_commas(inspection.gates.tokens), " tokens ",
      inspection.data.empty() ? "that the model says itself" : "of " + inspection.data, ", in windows of ",
      inspection.seq_len, ", ", inspection.options.pattern, "; loss ", brief(inspection.gates.loss, kDigits + 1),
      " nats a token:\n", table_text(rows),
      "\ngate           mean over tokens and channels"
      "\ntime constant  tokens: 1 / (1 - mean gate) of a channel; its mean and quantiles over channels"
      "\ncarry ",
      inspection.options.span, "       channels that keep 1/e of a state or more over as many tokens",
      "\nkept           of a state over as many tokens, mean over channels"
      "\ngradient       norm of the gate's rows over that of all weights of the layer; of equal elements 26.7%\n");
}

/// Windows of the file, spread over it.
std::vector<train::Batch> batches_of(const io::TokenFile& file, const Inspection& inspection, int64_t eos) {
  const int64_t T = inspection.seq_len, windows = (file.size() - 1) / T;
  if (windows < 1)
    io::fail_at(file.path(), 0, "expected at least ", T + 1, " tokens, one window and the token after it, found ",
                file.size(), "\nhint: a smaller --seq-len");
  const auto begins = train::spread_windows(0, windows, T, inspection.tokens);
  train::check_counts(file, begins, T, eos);
  std::vector<train::Batch> batches;
  const auto at_once = static_cast<size_t>(inspection.batch_size);
  for (std::span<const int64_t> left = begins; !left.empty();) {
    const size_t count = std::min(at_once, left.size());
    batches.push_back(train::windows_at(file, left.first(count), T, eos));
    left = left.subspan(count);
  }
  return batches;
}

}  // namespace

int run_inspect_gates(Arguments args) {
  ModelOptions from;
  PatternOptions asked;
  Inspection inspection;
  std::vector<std::string> paths;
  EndOfText eos;
  bool gates = false, json = false;
  Options options("inspect --gates",
                  "Says what the gates of a model's recurrence do, layer by layer: how long channels remember, how\n"
                  "many carry 64 tokens, and how much of the gradient is the gate's. Of tokens of a file, or of text\n"
                  "that the model says by itself at temperature 1.");
  options.positional("MODEL", paths, "Model folder, checkpoint, run folder (its newest checkpoint), or RUN/best");
  options.flag("--gates", gates, "Look at the gates");
  options.text("--data", "FILE.bin", inspection.data, "Token file, as ratel tokenize writes it");
  options.integer("--tokens", "N", inspection.tokens, "How many to look at, in windows spread over the file");
  options.integer("--seq-len", "T", inspection.seq_len, "Tokens of a window; 0: as the model was trained, or 256");
  options.integer("--span", "N", inspection.options.span, "Tokens that a channel is to carry");
  asked.add_to(options);
  eos.add_to(options);
  options.integer("--batch-size", "N", inspection.batch_size, "Windows computed at once");
  from.add_place_to(options);
  options.flag("--json", json, "Print one JSON object: layers, with gate, time_constant, carrying, gradient and more");
  options.example("ratel inspect --gates runs/tiny --data heldout.bin");
  options.example("ratel inspect --gates runs/tiny --data heldout.bin --dilation 64 --json");
  if (options.parse(args) == Options::Parsed::help) return 0;
  check(paths.size() == 1, "inspect --gates: expected one model, found ", paths.size());
  check(inspection.seq_len >= 0, "--seq-len: expected 1 or more, found ", inspection.seq_len);
  check(inspection.batch_size >= 1, "--batch-size: expected 1 or more, found ", inspection.batch_size);
  check(inspection.options.span >= 1, "--span: expected 1 or more, found ", inspection.options.span);
  const std::optional<int64_t> asked_eos = eos.given();

  from.path = inspection.model = paths.front();
  const OpenedModel opened = from.open();
  const RatPlus& model = opened.loaded.model;
  if (model.config.recurrence == Recurrence::none)
    fail_input(inspection.model, "expected a model with a recurrence, found one of attention only, without gates");
  int64_t& T = inspection.seq_len;
  if (T == 0) T = opened.seq_len;
  check(T >= inspection.options.span, "--seq-len: expected at least --span ", inspection.options.span, ", found ", T,
        "\nhint: a longer window, or a smaller --span");
  check(inspection.tokens >= T, "--tokens: expected at least one window of ", T, ", found ", inspection.tokens);
  inspection.options.pattern = choose_pattern(asked, opened.loaded.description.adapted, model.config);
  const int64_t end = end_of_text(asked_eos, opened, inspection.data);

  catch_signals();
  ProgressLine line;
  const auto show = [&line](const char* what) {
    return [&line, what](int64_t done, int64_t total) {
      if (line.is_due())
        line.show(concat_text("inspect: ", what, " ", with_commas(done), " of ", with_commas(total), " tokens"));
    };
  };
  std::vector<train::Batch> batches;
  if (!inspection.data.empty()) {
    batches = batches_of(open_tokens(opened, inspection.data, end), inspection, end);
  } else {
    check(end >= 0, "inspect --gates: the model has no end-of-text to begin a text with\nhint: --data, or --eos");
    batches = train::sampled_batches(model, {.pattern = inspection.options.pattern,
                                             .seq_len = T,
                                             .windows = inspection.tokens / T,
                                             .batch_size = inspection.batch_size,
                                             .eos = end,
                                             .stop = stop_requested,
                                             .progress = show("said")});
  }
  inspection.options.stop = stop_requested;
  inspection.options.progress = show("looked at");
  inspection.gates = train::measure_gates(model, batches, inspection.options);
  line.finish();
  if (!inspection.gates.complete) return signal_exit_code();
  if (json)
    print_json(as_json(inspection));
  else
    print(as_text(inspection));
  return 0;
}

}  // namespace ratel::cli
