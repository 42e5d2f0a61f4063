#pragma once

#include <string>

#include "cli/progress.h"
#include "train/run.h"

namespace ratel::cli {

/// What train and adapt show while they run and say when they end.
class TrainingView {
 public:
  /// Reports to stderr. The view must outlive the run.
  train::Observer observer();
  /// The result as text or as one JSON object on stdout. Returns the exit code: 0, or that of the signal.
  int conclude(const train::RunResult& result, const std::string& run, bool json);

 private:
  void start(const train::TrainConfig& config, int64_t parameters, int64_t resumed_step);
  void step(const train::StepReport& report);

  ProgressLine line_;
  train::StepReport last_;
};

/// "step 12/500  loss 2.3456 (sparse 2.4012)  lr 2.9e-03  ..."
std::string progress_text(const train::StepReport& report);

/// A run is not ended by a reader of its output that goes away: from here on SIGPIPE is ignored.
void outlive_readers();

}  // namespace ratel::cli
