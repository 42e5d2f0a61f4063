#include "cli/training_view.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <vector>

#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/signals.h"
#include "core/build.h"
#include "train/run_folder.h"

namespace ratel::cli {
namespace {

constexpr auto kLogEvery = std::chrono::seconds(5);

std::string per_second(double rate) { return rate >= 1e4 ? fixed(rate / 1e3, 1) + "k" : fixed(rate, 0); }

std::string losses(double own, const std::optional<double>& sparse) {
  return concat_text("loss ", fixed(own, 4), sparse ? " (sparse " + fixed(*sparse, 4) + ")" : "");
}

/// "60.1/98.2 MiB"; both in full where their units differ.
std::string memory_text(int64_t live, int64_t peak) {
  std::string now = human_bytes(live);
  const std::string most = human_bytes(peak);
  const size_t unit = now.find(' ');
  if (now.substr(unit) == most.substr(most.find(' '))) now.resize(unit);
  return now + "/" + most;
}

/// A part of the line; the parts of the highest rank go first where they do not all fit.
struct Part {
  std::string text;
  int rank;
};

}  // namespace

std::string progress_text(const train::StepReport& report, size_t width) {
  std::vector<Part> parts{
      {concat_text("step ", report.step, "/", report.steps), 0},
      {losses(report.loss, report.sparse_loss), 1},
      {"lr " + brief(report.learning_rate, 3), 4},
      {"norm " + brief(report.grad_norm, 3), 5},
      {per_second(report.tokens_per_second) + " tok/s", 3},
      {"MFU " + (report.mfu ? fixed(100 * *report.mfu, 1) + "%" : "n/a"), report.mfu ? 6 : 8},
      {memory_text(report.memory_live, report.memory_peak), 7},
      {"ETA " + human_seconds(report.eta_seconds), 2},
  };
  for (;;) {
    std::string text;
    for (const Part& part : parts) text += (text.empty() ? "" : "  ") + part.text;
    if (text.size() <= width || parts.size() == 1) return text;
    parts.erase(std::ranges::max_element(parts, {}, &Part::rank));
  }
}

std::string validation_text(const train::ValidationReport& report) {
  return concat_text("validation after step ", report.step, ": ", losses(report.loss, report.sparse_loss),
                     report.is_best ? ", the lowest so far" : "");
}

train::Observer TrainingView::observer() {
  train::Observer observer;
  observer.start = [this](const train::TrainConfig& config, int64_t parameters, int64_t resumed_step) {
    start(config, parameters, resumed_step);
  };
  observer.step = [this](const train::StepReport& report) { step(report); };
  observer.validation = [this](const train::ValidationReport& report) { validation(report); };
  observer.skipped = [this](const train::SkippedUpdate& skipped) { say("ratel: " + train::describe(skipped)); };
  observer.checkpoint = [this](const std::string& path) { log_.line("checkpoint " + path); };
  observer.warn = [this](const std::string& message) { say("ratel: " + message); };
  return observer;
}

void TrainingView::say(const std::string& text) {
  line_.note(text);
  log_.line(text);
}

void TrainingView::start(const train::TrainConfig& config, int64_t parameters, int64_t resumed_step) {
  log_.open(train::log_path(run_));
  log_.line(concat_text(command_, "  (ratel ", kVersion, ")"));
  last_.reset();
  const bool joint = config.train.joint != train::Joint::off;
  say(concat_text(with_commas(parameters), " parameters, ", config.train.steps, " steps of ", config.data.batch_size,
                  " x ", config.data.seq_len, " tokens, through ", text_of(config.pattern()),
                  joint ? concat_text(" and ", text_of(config.sparse_pattern())) : ""));
  if (resumed_step > 0) say(concat_text("resuming after step ", resumed_step));
}

void TrainingView::step(const train::StepReport& report) {
  last_ = report;
  const bool is_last = report.step == report.steps || stop_requested();
  if (is_last || line_.is_due())
    line_.show(progress_text(report, line_.width()),
               is_last ? ProgressLine::Show::always : ProgressLine::Show::when_due);
  if (const auto now = Clock::now(); is_last || now >= next_logged_) {
    log_.line(progress_text(report));
    next_logged_ = now + kLogEvery;
  }
}

void TrainingView::validation(const train::ValidationReport& report) {
  validated_ = report;
  say(validation_text(report));
}

void TrainingView::failed(std::string_view message) {
  line_.finish();
  log_.line(concat_text("ratel: ", message));
}

namespace {

/// A run that a signal stopped ends as such, where its terminal is gone, too.
template <class F>
void show(F&& print_it) {
  try {
    print_it();
  } catch (const Error&) {
    if (caught_signal() == 0) throw;
  }
}

}  // namespace

int TrainingView::conclude(const train::RunResult& result, bool json) {
  line_.finish();
  const bool stopped = result.status == train::RunResult::Status::stopped;
  const std::string text = concat_text(stopped ? "stopped" : "finished", " at step ", result.step, " of ", result.steps,
                                       ": ", result.checkpoint);
  log_.line(text);
  if (json) {
    io::Json row = last_ ? train::to_json(*last_) : io::Json::object();
    row.set("status", stopped ? "stopped" : "finished");
    row.set("run", run_);
    row.set("checkpoint", result.checkpoint);
    row.set("step", result.step);
    row.set("steps", result.steps);
    if (validated_) {
      row.set("validation_loss", validated_->loss);
      if (validated_->sparse_loss) row.set("validation_sparse_loss", *validated_->sparse_loss);
    }
    show([&] { print_json(row); });
  } else {
    show([&] { print(text + "\n"); });
  }
  if (stopped && caught_signal() != 0) {
    note("ratel: the same command with --resume goes on from here");
    return signal_exit_code();
  }
  return 0;
}

void outlive_readers() { signal(SIGPIPE, SIG_IGN); }

}  // namespace ratel::cli
