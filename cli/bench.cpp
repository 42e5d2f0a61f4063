#include "cli/bench_runs.h"

#include <algorithm>
#include <vector>

#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/table.h"
#include "core/free_memory.h"
#include "models/description.h"
#include "models/pattern_file.h"
#include "ops/threads.h"

namespace ratel::cli {
namespace {

using io::Json;

struct Row {
  BenchPoint point;
  BenchResult result;
  int64_t kv_bytes = 0, dense_kv_bytes = 0;
  double times_dense = 0;  ///< how much faster than the dense row of the same batch and length; 0: there is none
};

/// What the command line asks for.
struct Request {
  ModelOptions from;
  std::string preset = "tiny", pattern_file;
  std::vector<std::string> what;
  std::vector<int64_t> dilations{1, 16, 64}, batches{1}, lengths{1024};
  int64_t window = 0, initial = 0;
  bool json = false;
};

void add_options(Options& options, Request& asked, BenchSetting& setting) {
  options.positional("WHAT", asked.what, "prefill, decode, train or layer");
  asked.from.add_to(options, Presence::optional);
  options.text("--preset", "NAME", asked.preset,
               "In place of a model: random weights of this size: tiny, small, 1b, 3b, 7b");
  options.integers("--dilations", "D,D,...", asked.dilations,
                   "Uniform patterns to measure, one after the other [1,16,64]");
  options.integer("--window", "W", asked.window, "The W keys before a query are seen too; not with D=1");
  options.integer("--initial", "S", asked.initial, "The first S keys are seen too; not with D=1");
  options.text("--pattern", "FILE", asked.pattern_file, "A pattern file to measure too, after the dilations");
  options.integers("--batch", "B,B,...", asked.batches, "Sequences [1; 8 for train]");
  options.integers("--length", "T,T,...", asked.lengths, "Tokens of a sequence [1024; 256 for train]");
  options.integer("--chunk", "N", setting.chunk, "Tokens of a sequence that prefill feeds at once");
  options.real("--seconds", "X", setting.seconds, "To measure each line for, at least three runs");
  options.flag("--json", asked.json,
               "Print one JSON object: config, rows with ms, tokens_per_second, kv_bytes and more");
  options.note(
      "prefill  feeds T tokens of every sequence into an empty KV cache\n"
      "decode   one token a sequence, the cache coming to hold T tokens: the last T/16 are measured,\n"
      "         16 at least and 1024 at most\n"
      "train    a batch of training: D=1 one optimizer step, D>1 the joint two, through D and then densely; it takes\n"
      "         no window, initial keys or pattern file\n"
      "layer    the mixer of one layer, forward, and forward with backward\n"
      "Times are medians. Peak memory is that of tensors, weights included.\n");
  options.example("ratel bench decode --preset tiny --dilations 1,16,64 --length 512,8192 --batch 1,8");
  options.example("ratel bench prefill --model runs/tiny --pattern tiny-16th.toml --length 4096 --json");
}

std::vector<BenchPoint> points_of(const Request& asked, const RatPlusConfig& config) {
  std::vector<BenchPoint> points;
  for (const int64_t batch : asked.batches)
    for (const int64_t length : asked.lengths) {
      for (const int64_t dilation : asked.dilations) {
        const Pattern pattern =
            dilation == 1 ? Pattern{} : Pattern{.dilation = dilation, .window = asked.window, .initial = asked.initial};
        points.push_back({batch, length, ModelPattern::uniform(pattern), concat_text(pattern)});
        points.back().pattern.check_fits(config);
      }
      if (!asked.pattern_file.empty())
        points.push_back({batch, length, read_pattern_file(asked.pattern_file, config), asked.pattern_file});
    }
  return points;
}

/// Throws where the point that needs most does not fit into what is free; `held` of it is allocated already.
void require_memory_for(const std::vector<BenchPoint>& points, Bench what, const BenchSetting& setting, int64_t held) {
  if (setting.device.is_cuda()) return;  // whose pool says so itself
  const auto need = [&](const BenchPoint& point) { return least_bytes(what, setting, point); };
  const BenchPoint& largest = *std::ranges::max_element(points, {}, need);
  require_memory(need(largest) - held,
                 concat_text("bench ", name_in(names_of(what), what), ": ", largest.batch, " x ", largest.length,
                             " tokens, ", largest.name, ":",
                             what == Bench::train   ? " weights, moments and activations"
                             : what == Bench::layer ? " weights and activations"
                                                    : " weights and cache"),
                 "a smaller --batch or --length, or a smaller model");
}

/// Measures a point with the model, or what it needs of one.
using Run = std::function<std::optional<BenchResult>(const BenchPoint& point)>;

/// Random weights, kept for as long as the model is.
struct RandomModel {
  nn::ParamStore store;
  RatPlus model;
  explicit RandomModel(const BenchSetting& s) : store(s.dtype, 0, nn::Start::init, s.device), model(store, s.config) {}
};
struct RandomMixer {
  nn::ParamStore store;
  nn::RatPlusMixer mixer;
  explicit RandomMixer(const BenchSetting& s)
      : store(s.dtype, 0, nn::Start::init, s.device),
        mixer(store, {s.config.channels, s.config.heads, s.config.recurrence, s.config.norm_eps, s.config.rope_base}) {}
};

Run make_run(Bench what, const BenchSetting& setting, const OpenedModel* opened) {
  if (what == Bench::train) return [&setting](const BenchPoint& point) { return bench_train(setting, point); };
  if (what == Bench::layer) {
    if (opened != nullptr)
      return [&setting, mixer = opened->loaded.model.blocks[0].mixer](const BenchPoint& point) {
        return bench_layer(mixer, setting, point);
      };
    const auto random = std::make_shared<RandomMixer>(setting);
    return [&setting, random](const BenchPoint& point) { return bench_layer(random->mixer, setting, point); };
  }
  const auto run = what == Bench::prefill ? bench_prefill : bench_decode;
  if (opened != nullptr)
    return
        [&setting, run, model = opened->loaded.model](const BenchPoint& point) { return run(model, setting, point); };
  const auto random = std::make_shared<RandomModel>(setting);
  return [&setting, run, random](const BenchPoint& point) { return run(random->model, setting, point); };
}

double tokens_per_second(const BenchResult& result) { return static_cast<double>(result.tokens) / result.seconds; }
double share_of(const Row& row) { return static_cast<double>(row.kv_bytes) / static_cast<double>(row.dense_kv_bytes); }

/// How much faster a row is than the dense one of its batch and length, if there is one.
double times_dense(const std::vector<Row>& rows, const Row& row) {
  for (const Row& other : rows)
    if (other.point.batch == row.point.batch && other.point.length == row.point.length &&
        other.point.pattern == ModelPattern{})
      return other.result.seconds / row.result.seconds;
  return 0;
}

Json as_json(const Row& row) {
  Json json = Json::object({{"batch", row.point.batch},
                            {"length", row.point.length},
                            {"pattern", to_json(row.point.pattern)},
                            {"name", row.point.name},
                            {"ms", 1e3 * row.result.seconds}});
  if (row.result.backward) json.set("forward_backward_ms", 1e3 * *row.result.backward);
  json.set("tokens_per_second", tokens_per_second(row.result));
  json.set("times_dense", row.times_dense > 0 ? Json(row.times_dense) : Json());
  json.set("runs", row.result.runs);
  json.set("kv_bytes", row.kv_bytes);
  json.set("dense_kv_bytes", row.dense_kv_bytes);
  json.set("kv_share", share_of(row));
  json.set("peak_bytes", row.result.peak_bytes);
  return json;
}

std::string as_text(const std::vector<Row>& rows, Bench what) {
  const bool is_layer = what == Bench::layer, has_cache = what == Bench::prefill || what == Bench::decode;
  std::vector<std::vector<std::string>> cells{{"pattern", "batch", "length", is_layer ? "forward ms" : "ms"}};
  if (is_layer) cells[0].emplace_back("and backward ms");
  for (const char* name : {"tokens/s", "x dense"}) cells[0].emplace_back(name);
  if (has_cache)
    for (const char* name : {"KV cache", "of dense"}) cells[0].emplace_back(name);
  cells[0].emplace_back("peak memory");
  for (const Row& row : rows) {
    const BenchResult& result = row.result;
    auto& line =
        cells.emplace_back(std::vector<std::string>{row.point.name, std::to_string(row.point.batch),
                                                    with_commas(row.point.length), brief(1e3 * result.seconds, 4)});
    if (is_layer) line.push_back(brief(1e3 * result.backward.value_or(0), 4));
    line.push_back(with_commas(static_cast<int64_t>(tokens_per_second(result))));
    line.push_back(row.times_dense > 0 ? fixed(row.times_dense, 2) : "-");
    if (has_cache) {
      line.push_back(human_bytes(row.kv_bytes));
      line.push_back(fixed(100 * share_of(row), 1) + "%");
    }
    line.push_back(human_bytes(result.peak_bytes));
  }
  return table_text(cells);
}

Bench bench_named(const std::vector<std::string>& words) {
  const EnumNames<Bench> names = names_of(Bench{});
  check(words.size() == 1, "bench: expected one of ", choices_of(names, ", "), ", found ", words.size(), " words");
  const auto what = value_in(names, words[0]);
  check(what.has_value(), "bench: expected one of ", choices_of(names, ", "), ", found '", words[0], "'");
  return *what;
}

void check_from_1_to(int64_t most, const char* name, const std::vector<int64_t>& values) {
  for (const int64_t value : values)
    check(value >= 1 && value <= most, name, ": expected 1 to ", most, ", found ", value);
}

}  // namespace

int run_bench(Arguments args) {
  Request asked;
  BenchSetting setting;
  Options options(
      "bench",
      "Measures tokens a second, the KV cache and the peak of memory, dense beside sparse, for every batch,\n"
      "length and pattern asked for.");
  add_options(options, asked, setting);
  if (options.parse(args) == Options::Parsed::help) return 0;
  const Bench what = bench_named(asked.what);
  if (what == Bench::train && !options.given("--batch")) asked.batches = {8};
  if (what == Bench::train && !options.given("--length")) asked.lengths = {256};
  check_from_1_to(int64_t{1} << 28, "--batch", asked.batches);
  check_from_1_to(int64_t{1} << 28, "--length", asked.lengths);
  constexpr int64_t kMostTokens = int64_t{1} << 40;
  for (const int64_t batch : asked.batches)
    for (const int64_t length : asked.lengths)
      check(batch <= kMostTokens / length, "bench: expected at most ", kMostTokens, " tokens at once, found ", batch,
            " x ", length);
  for (const int64_t length : asked.lengths)
    check(what != Bench::decode || length >= kLeastDecodeLength, "--length: expected ", kLeastDecodeLength,
          " or more to decode to, found ", length);
  check(setting.chunk >= 1, "--chunk: expected 1 or more, found ", setting.chunk);
  check(setting.seconds >= 0 && setting.seconds <= 1e6, "--seconds: expected 0 to 1000000, found ", setting.seconds);
  check(!(options.given("--model") && options.given("--preset")), "expected one of --model and --preset");
  check(what != Bench::train || (asked.pattern_file.empty() && asked.window == 0 && asked.initial == 0),
        "bench train: expected --dilations alone: joint training's sparse pattern is a dilation");

  std::optional<OpenedModel> opened;
  if (options.given("--model")) opened = asked.from.open();
  const ModelOptions::Place place = asked.from.prepare();
  setting.dtype = place.dtype;
  setting.device = place.device;
  setting.config = opened ? opened->loaded.model.config : rat_plus_preset(asked.preset);
  const std::vector<BenchPoint> points = points_of(asked, setting.config);
  const bool uses_model = what == Bench::prefill || what == Bench::decode;  // the others count what they make
  const int64_t held =
      opened && uses_model ? opened->loaded.store.numel() * static_cast<int64_t>(size_of(setting.dtype)) : 0;
  require_memory_for(points, what, setting, held);

  catch_signals();
  setting.stop = stop_requested;
  const Run run = make_run(what, setting, opened ? &*opened : nullptr);
  ProgressLine line;
  std::vector<Row> rows;
  for (const BenchPoint& point : points) {
    line.show(concat_text("bench: ", rows.size() + 1, " of ", points.size(), ": ", point.batch, " x ", point.length,
                          " tokens, ", point.name));
    const auto result = run(point);
    if (!result) break;
    const auto bytes = [&](const ModelPattern& pattern) {
      return point.batch * kv_cache_bytes(setting.config, pattern, point.length, setting.dtype);
    };
    rows.push_back({point, *result, bytes(point.pattern), bytes(ModelPattern{})});
  }
  for (Row& row : rows) row.times_dense = times_dense(rows, row);  // wherever the dense row stands
  line.finish();
  const bool complete = rows.size() == points.size();
  if (!complete) note("ratel: stopped early, after ", rows.size(), " of ", points.size(), " lines");
  if (asked.json) {
    Json list = Json::array();
    for (const Row& row : rows) list.push_back(as_json(row));
    print_json(Json::object({{"bench", asked.what[0]},
                             {"model", opened ? asked.from.path : asked.preset},
                             {"config", to_json(setting.config)},
                             {"parameters", setting.config.parameter_count()},
                             {"dtype", asked.from.dtype},
                             {"device", asked.from.device},
                             {"threads", num_threads()},
                             {"complete", complete},
                             {"rows", std::move(list)}}));
  } else {
    print(as_text(rows, what));
  }
  return complete ? 0 : signal_exit_code();
}

}  // namespace ratel::cli
