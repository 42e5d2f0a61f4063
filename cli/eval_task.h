#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/pattern_options.h"

namespace ratel::cli {

/// The options of `ratel eval --task`.
struct TaskOptions {
  std::string task, kind, metric = "f1", prompt_template, haystack, output;
  std::vector<std::string> stop_strings;
  int64_t limit = 0, max_length = 0, max_new_tokens = 0;
  int64_t length = 4096, examples = 100, seed = 0;  // of needles
  bool first_line = false;

  void add_to(Options& options);
  /// Throws Error(usage) for an option of tasks where there is no --task.
  static void check_absent(const Options& options);
};

/// Evaluates a model on a task, and prints what came out. Returns the exit code. Throws Error.
struct TaskRun {
  const ModelOptions& from;
  const PatternOptions& pattern;
  int64_t batch_size, context;
  bool json;
};
int run_eval_task(const TaskOptions& task, const Options& options, const TaskRun& run);

}  // namespace ratel::cli
