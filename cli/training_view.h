#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "cli/progress.h"
#include "cli/run_log.h"
#include "core/clock.h"
#include "train/run.h"

namespace ratel::cli {

/// What train and adapt show while they run and say when they end; all of it goes to the run's log.txt too.
class TrainingView {
 public:
  TrainingView(std::string command, std::string run) : command_(std::move(command)), run_(std::move(run)) {}
  /// Reports to stderr. The view must outlive the run.
  train::Observer observer();
  /// The result as text or as one JSON object on stdout. Returns the exit code: 0, or that of the signal.
  int conclude(const train::RunResult& result, bool json);
  /// What ended the run, for its log alone.
  void failed(std::string_view message);

 private:
  void start(const train::TrainConfig& config, int64_t parameters, int64_t resumed_step);
  void step(const train::StepReport& report);
  void validation(const train::ValidationReport& report);
  void say(const std::string& text);

  std::string command_, run_;
  ProgressLine line_;
  RunLog log_;
  Clock::time_point next_logged_;
  std::optional<train::StepReport> last_;  // of this session
  std::optional<train::ValidationReport> validated_;
};

/// The line of a step, in at most `width` characters: what does not fit is left out, the least important first.
/// "step 12/500  loss 2.3456 (sparse 2.4012)  lr 0.0029  norm 0.81  18.2k tok/s  MFU n/a  60.1/98.2 MiB  ETA 3 min 20
/// s". Memory is what tensors hold and the most they held.
std::string progress_text(const train::StepReport& report, size_t width = std::numeric_limits<size_t>::max());
/// "validation after step 100: loss 2.1234 (sparse 2.2012), the lowest so far".
std::string validation_text(const train::ValidationReport& report);

/// A run is not ended by a reader of its output that goes away: from here on SIGPIPE is ignored.
void outlive_readers();

}  // namespace ratel::cli
