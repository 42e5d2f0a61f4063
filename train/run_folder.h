#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace ratel::train {

// RUN/config.toml                 the resolved config
// RUN/metrics.jsonl               a row for every step, and for every validation
// RUN/events.out.tfevents.N       the same for TensorBoard, a file for every session
// RUN/log.txt                     what the command printed, with times
// RUN/checkpoints/step-N/         see train/checkpoint.h
// RUN/lock                        held by the process that trains here

/// A line for the user: something was wrong, and the run goes on.
using Warn = std::function<void(const std::string& message)>;

std::string config_path(const std::string& run);
std::string metrics_path(const std::string& run);
std::string log_path(const std::string& run);
std::string checkpoints_path(const std::string& run);
std::string checkpoint_path(const std::string& run, int64_t step);

/// True where nothing is in the folder, or there is none; leftovers of a start that was cut short do not count.
bool is_empty_run(const std::string& run);
/// Removes what a process left half written when it ended: checkpoints, and config.toml.tmp and metrics.jsonl.tmp.
void remove_leftovers(const std::string& run);

/// Sole use of a run folder, until it is destroyed or the process ends. Makes the folder.
class RunLock {
 public:
  /// Throws Error(usage) naming the process that holds it, Error(disk) where the folder cannot be made.
  explicit RunLock(const std::string& run);
  /// Throws Error(disk) where the folder is not at its path any more.
  void check_folder() const;
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  std::string run_;
  int descriptor_ = -1, folder_ = -1;
};

/// The run of a RUN/best, where no file or folder has that name: resolve_model_dir() knows what it means.
std::optional<std::string> run_of_best(const std::string& path);
/// Where config.json and model.safetensors are for a path a user gives: a model folder or a checkpoint itself, or the
/// newest valid checkpoint of a run folder; of RUN/best, the valid one of lowest validation loss. Throws Error(input)
/// for anything else.
std::string resolve_model_dir(const std::string& path, const Warn& warn = {});

}  // namespace ratel::train
