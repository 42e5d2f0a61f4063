#include <filesystem>
#include <optional>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/svg_chart.h"
#include "io/file.h"
#include "io/metrics_file.h"
#include "train/config.h"
#include "train/run_folder.h"

namespace ratel::cli {
namespace {

namespace fs = std::filesystem;
using io::Json;

/// One run's rows, and what its two losses are called.
struct Run {
  std::string name;
  std::vector<Json> rows;
  std::string own = "loss", sparse = "sparse loss";
};

std::string name_of_pattern(const ModelPattern& pattern) {
  return pattern == ModelPattern{} ? "dense" : text_of(pattern);
}

Run read_run(const std::string& path) {
  if (!io::path_exists(path)) fail_input(path, "no such run folder or metrics file");
  Run run;
  if (!io::is_folder(path)) {
    run.name = fs::path(path).stem();
    run.rows = io::read_metrics(path);
  } else {
    const fs::path clean = fs::path(path).lexically_normal();
    run.name = clean.has_filename() ? clean.filename() : clean.parent_path().filename();
    run.rows = io::read_metrics(train::metrics_path(path));
    if (io::path_exists(train::config_path(path))) {
      const auto config = train::load_config(train::config_path(path), {});
      run.own = name_of_pattern(config.pattern());
      run.sparse = name_of_pattern(config.sparse_pattern());
    }
  }
  if (run.rows.empty()) fail_input(path, "there is no step in its metrics yet");
  return run;
}

/// The points of one column; nothing where no row has it.
std::optional<Series> series_of(const Run& run, std::string_view x, std::string_view column) {
  Series series;
  for (const Json& row : run.rows) {
    const Json* at = row.find(x);
    const Json* value = row.find(column);
    if (at == nullptr || value == nullptr || !at->is_number() || !value->is_number()) continue;
    series.x.push_back(at->as_double());
    series.y.push_back(value->as_double());
  }
  if (series.x.empty()) return std::nullopt;
  return series;
}

Chart chart_of(const std::vector<Run>& runs, const std::string& x) {
  const bool is_alone = runs.size() == 1;
  Chart chart{is_alone ? runs.front().name : "Training loss", x, "loss (nats per token)", {}};
  for (size_t i = 0; i < runs.size(); ++i) {
    const Run& run = runs[i];
    const auto add = [&](std::string_view column, const std::string& what, size_t color, Stroke stroke) {
      if (auto series = series_of(run, x == "steps" ? "step" : x, column)) {
        series->name = is_alone ? what : run.name + " " + what;
        series->color = color;
        series->stroke = stroke;
        chart.series.push_back(std::move(*series));
      }
    };
    add("loss", run.own, i, Stroke::solid);
    add("sparse_loss", run.sparse, is_alone ? 1 : i, is_alone ? Stroke::solid : Stroke::dashed);
  }
  return chart;
}

}  // namespace

int run_plot(Arguments args) {
  std::vector<std::string> paths;
  std::string x = "steps", output;
  bool json = false;
  Options options("plot", "Draws the training curves of one or several runs as an SVG file.");
  options.positional("RUN", paths, "Run folders, or metrics.jsonl files");
  options.text("--x", "steps|tokens|seconds", x, "The horizontal axis");
  options.text("--output", "FILE.svg", output, "Where the chart goes", Presence::required);
  options.flag("--json", json, "Print one JSON object: output, series");
  options.example("ratel plot runs/tiny --output curve.svg");
  options.example("ratel plot runs/tiny runs/other --x tokens --output both.svg");
  if (options.parse(args) == Options::Parsed::help) return 0;
  check(x == "steps" || x == "tokens" || x == "seconds", "--x: expected steps, tokens or seconds, found '", x, "'");
  check_output_path(output);

  std::vector<Run> runs;
  for (const std::string& path : paths) runs.push_back(read_run(path));
  const Chart chart = chart_of(runs, x);
  io::write_file_atomically(output, render_svg(chart));
  Json series = Json::array();
  for (const Series& one : chart.series)
    series.push_back(Json::object({{"name", one.name}, {"points", one.x.size()}, {"last", one.y.back()}}));
  if (json)
    print_json(Json::object({{"output", output}, {"series", std::move(series)}}));
  else
    print(concat_text(output, ": ", chart.series.size(), chart.series.size() == 1 ? " curve\n" : " curves\n"));
  return 0;
}

}  // namespace ratel::cli
