#include <algorithm>
#include <filesystem>
#include <optional>

#include "cli/chart_file.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/svg_chart.h"
#include "core/text.h"
#include "io/distinct_files.h"
#include "io/file.h"
#include "io/metrics_file.h"
#include "io/report.h"
#include "train/config.h"
#include "train/run_folder.h"

namespace ratel::cli {
namespace {

namespace fs = std::filesystem;
using io::Json;

/// One run's rows, and what the losses through its two patterns are called.
struct Run {
  std::string name, path;  // the path is that of its rows
  fs::path folder;         // that what `name` says is in
  std::vector<Json> rows;
  std::string own = "own", sparse = "sparse";
};

std::string name_of_pattern(const ModelPattern& pattern) {
  const ModelPattern simple = simplified(pattern);
  const Pattern& first = simple.layers[0][0];
  if (simple == ModelPattern{}) return "dense";
  return simple == ModelPattern::uniform({first.dilation}) ? concat_text("D=", first.dilation) : text_of(simple);
}

Run read_run(const std::string& path) {
  if (!io::path_exists(path)) fail_input(path, "no such run folder or metrics file");
  Run run;
  run.path = path;
  if (!io::is_folder(path)) {
    run.name = as_utf8(fs::path(path).stem().string());
    run.folder = fs::absolute(path).lexically_normal().parent_path();
    run.rows = io::read_metrics(path);
  } else {
    fs::path clean = fs::absolute(path).lexically_normal();
    if (!clean.has_filename()) clean = clean.parent_path();
    run.name = as_utf8(clean.filename().string());
    run.folder = clean.parent_path();
    run.path = train::metrics_path(path);
    run.rows = io::read_metrics(run.path);
    if (io::path_exists(train::config_path(path))) {
      const auto config = train::load_config(train::config_path(path), {});
      run.own = name_of_pattern(config.pattern());
      run.sparse = name_of_pattern(config.sparse_pattern());
    }
  }
  if (run.rows.empty()) fail_input(path, "there is no step in its metrics yet");
  return run;
}

/// Puts before names that are the same the folders they are in, as many as tell them apart. A run that is given twice
/// keeps one name.
void tell_apart(std::vector<Run>& runs) {
  for (bool changed = true; changed;) {
    changed = false;
    std::vector<size_t> same;
    for (size_t i = 0; i < runs.size(); ++i)
      if (std::ranges::any_of(
              runs, [&](const Run& other) { return other.name == runs[i].name && other.folder != runs[i].folder; }))
        same.push_back(i);
    for (const size_t i : same) {
      Run& run = runs[i];
      if (!run.folder.has_filename()) continue;
      run.name = as_utf8(run.folder.filename().string()) + "/" + run.name;
      run.folder = run.folder.parent_path();
      changed = true;
    }
  }
}

/// The number in a column of a row; nothing where it has none, or null. Throws Error(input) for anything else.
std::optional<double> number_in(const Run& run, size_t row, std::string_view column) {
  const Json* value = run.rows[row].find(column);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (!value->is_number()) io::fail_at(run.path, row + 1, column, ": expected a number, found ", value->dump());
  return value->as_double();
}

/// The points of one column; nothing where no row has it.
std::optional<Series> series_of(const Run& run, std::string_view x, std::string_view column) {
  Series series;
  for (size_t row = 0; row < run.rows.size(); ++row) {
    const auto at = number_in(run, row, x), value = number_in(run, row, column);
    if (!at || !value) continue;
    series.x.push_back(*at);
    series.y.push_back(*value);
  }
  if (series.x.empty()) return std::nullopt;
  return series;
}

/// The columns that --y draws together: the loss is four.
struct Column {
  std::string_view name;
  std::string what;
  Stroke stroke;
  bool marks;
};

std::vector<Column> columns_of(const Run& run, const std::string& y) {
  if (y != "loss") return {{y, y, Stroke::solid, false}};
  return {{"loss", run.own, Stroke::solid, false},
          {"sparse_loss", run.sparse, Stroke::dashed, false},
          {"validation_loss", run.own + ", validation", Stroke::dotted, true},
          {"validation_sparse_loss", run.sparse + ", validation", Stroke::dotted, true}};
}

/// Runs differ by colour, and what is drawn of them by stroke; a run alone has a colour for each.
Chart chart_of(const std::vector<Run>& runs, const std::string& x, const std::string& y) {
  const bool is_alone = runs.size() == 1;
  Chart chart;
  chart.title = is_alone ? runs.front().name : concat_text(runs.size(), " runs");
  chart.x_label = x == "seconds" ? "seconds of training" : x;
  chart.y_label = y == "loss" ? "loss (nats per token)" : y;
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::vector<Column> columns = columns_of(runs[i], y);
    for (size_t column = 0; column < columns.size(); ++column) {
      const auto& [name, what, stroke, marks] = columns[column];
      auto series = series_of(runs[i], x == "steps" ? "step" : x, name);
      if (!series) continue;
      series->name = is_alone ? what : y == "loss" ? runs[i].name + " " + what : runs[i].name;
      series->color = is_alone ? column % 2 : i;
      series->stroke = stroke;
      series->marks = marks;
      chart.series.push_back(std::move(*series));
    }
  }
  return chart;
}

/// The columns of numbers in the rows, in the order in which they appear.
std::vector<std::string> columns_in(const std::vector<Run>& runs) {
  std::vector<std::string> names;
  for (const Run& run : runs)
    for (const Json& row : run.rows)
      for (const auto& [key, value] : row.as_object())
        if (value.is_number() && std::ranges::find(names, key) == names.end()) names.push_back(key);
  return names;
}

void check_column(const std::vector<Run>& runs, const std::string& y) {
  const std::vector<std::string> names = columns_in(runs);
  if (std::ranges::find(names, y) != names.end()) return;
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  fail("--y: no run has a column ", io::in_quotes(y), suggestion(y, names), "\nhint: there are ", all);
}

Chart chart_of_runs(const std::vector<std::string>& paths, const std::string& x, const std::string& y) {
  std::vector<Run> runs;
  for (const std::string& path : paths) runs.push_back(read_run(path));
  tell_apart(runs);
  check_column(runs, y);
  return chart_of(runs, x, y);
}

/// Throws Error(usage) where the output is a file of the runs, or the described chart.
void check_not_read(const std::string& output, const std::vector<std::string>& runs, const std::string& described) {
  std::vector<io::FileRole> read;
  for (const std::string& path : runs) {
    if (!io::is_folder(path)) {
      read.push_back({"the metrics file", path});
      continue;
    }
    read.push_back({"the metrics file", train::metrics_path(path)});
    read.push_back({"the configuration", train::config_path(path)});
  }
  if (!described.empty()) read.push_back({"the chart", described});
  io::check_distinct(std::vector<io::FileRole>{{"the output", output}}, read);
}

std::string x_column(std::string x) {
  if (x == "step") x = "steps";
  if (x == "time") x = "seconds";
  check(x == "steps" || x == "tokens" || x == "seconds", "--x: expected steps, tokens or seconds, found '", x, "'");
  return x;
}

}  // namespace

int run_plot(Arguments args) {
  std::vector<std::string> paths;
  std::string x = "steps", y = "loss", described, output;
  int64_t smoothing = -1;
  bool log_x = false, json = false;
  Options options("plot",
                  "Draws the training curves of one or several runs, or a chart that is described, as an SVG file.");
  options.positional("RUN", paths, "Run folders, or metrics.jsonl files", Presence::optional);
  options.text("--x", "steps|tokens|seconds", x, "The horizontal axis");
  options.flag("--log-x", log_x, "A logarithmic horizontal axis");
  options.text("--y", "COLUMN", y, "What is drawn: a column of metrics.jsonl. Of the loss: dense, sparse, validation");
  options.integer("--smooth", "N", smoothing,
                  "Steps to either side of a running mean, drawn over the pale curve itself; -1: by the length");
  options.text("--chart", "FILE.json", described,
               "In place of runs: a chart with series of its own, as docs/formats.md describes it");
  options.text("--output", "FILE.svg", output, "Where the chart goes", Presence::required);
  options.flag("--json", json, "Print one JSON object: output, series");
  options.example("ratel plot runs/tiny --output curve.svg");
  options.example("ratel plot runs/tiny runs/other --x tokens --output both.svg");
  options.example("ratel plot --chart losses.json --output losses.svg");
  options.example("ratel plot runs/tiny --y grad_norm --smooth 20 --output norm.svg");
  if (options.parse(args) == Options::Parsed::help) return 0;
  x = x_column(x);
  check(smoothing >= -1, "--smooth: expected 0 or more steps, or -1, found ", smoothing);
  check(paths.empty() != described.empty(), "plot: expected a RUN, or a --chart, found ",
        paths.empty() ? "neither" : "both");
  check_output_path(output);
  check_not_read(output, paths, described);
  check(output.ends_with(".svg"), "--output: expected a name that ends in .svg, found ", output,
        "\nhint: a browser, or rsvg-convert, makes other pictures of an SVG");

  Chart chart = described.empty() ? chart_of_runs(paths, x, y) : read_chart(described);
  if (log_x) chart.x_scale = Scale::log;
  if (smoothing >= 0) chart.smoothing = static_cast<size_t>(smoothing);
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
