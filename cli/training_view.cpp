#include "cli/training_view.h"

#include <csignal>

#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/signals.h"
#include "core/memory.h"

namespace ratel::cli {
namespace {

std::string per_second(double rate) { return rate >= 1e4 ? fixed(rate / 1e3, 1) + "k" : fixed(rate, 0); }

}  // namespace

std::string progress_text(const train::StepReport& report) {
  std::string text = concat_text("step ", report.step, "/", report.steps, "  loss ", fixed(report.loss, 4));
  if (report.sparse_loss) text += " (sparse " + fixed(*report.sparse_loss, 4) + ")";
  text += concat_text("  lr ", brief(report.learning_rate, 3), "  norm ", brief(report.grad_norm, 3), "  ",
                      per_second(report.tokens_per_second), " tok/s  ETA ", human_seconds(report.eta_seconds), "  ",
                      human_bytes(memory_use().peak));
  return text;
}

train::Observer TrainingView::observer() {
  train::Observer observer;
  observer.start = [this](const train::TrainConfig& config, int64_t parameters, int64_t resumed_step) {
    start(config, parameters, resumed_step);
  };
  observer.step = [this](const train::StepReport& report) { step(report); };
  observer.skipped = [this](const train::SkippedUpdate& skipped) { line_.note("ratel: " + train::describe(skipped)); };
  observer.warn = [this](const std::string& message) { line_.note("ratel: " + message); };
  return observer;
}

void TrainingView::start(const train::TrainConfig& config, int64_t parameters, int64_t resumed_step) {
  last_ = {};
  last_.step = resumed_step;
  last_.steps = config.train.steps;
  const bool joint = config.train.joint != train::Joint::off;
  note(with_commas(parameters), " parameters, ", config.train.steps, " steps of ", config.data.batch_size, " x ",
       config.data.seq_len, " tokens, through ", text_of(config.pattern()),
       joint ? concat_text(" and ", text_of(config.sparse_pattern())) : "");
  if (resumed_step > 0) note("resuming after step ", resumed_step);
}

void TrainingView::step(const train::StepReport& report) {
  last_ = report;
  const bool is_last = report.step == report.steps || stop_requested();
  if (is_last || line_.is_due())
    line_.show(progress_text(report), is_last ? ProgressLine::Show::always : ProgressLine::Show::when_due);
}

int TrainingView::conclude(const train::RunResult& result, const std::string& run, bool json) {
  line_.finish();
  const bool stopped = result.status == train::RunResult::Status::stopped;
  if (json) {
    io::Json row = train::to_json(last_);
    row.set("status", stopped ? "stopped" : "finished");
    row.set("run", run);
    row.set("checkpoint", result.checkpoint);
    row.set("step", result.step);
    row.set("steps", result.steps);
    print_json(row);
  } else {
    print(concat_text(stopped ? "stopped" : "finished", " at step ", result.step, " of ", result.steps, ": ",
                      result.checkpoint, "\n"));
  }
  if (stopped && caught_signal() != 0) {
    note("ratel: the same command with --resume goes on from here");
    return signal_exit_code();
  }
  return 0;
}

void outlive_readers() { signal(SIGPIPE, SIG_IGN); }

}  // namespace ratel::cli
