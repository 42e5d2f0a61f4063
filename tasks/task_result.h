#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/json.h"
#include "models/rat_plus.h"
#include "text/tokenizer.h"

namespace ratel::tasks {

/// Who is asked, and how.
struct TaskSetting {
  const RatPlus& model;
  Tokenizer tokenizer;
  ModelPattern pattern = {};
  int64_t batch_size = 8;                                          ///< texts computed at once, at most
  std::function<bool()> stop = {};                                 ///< polled between batches
  std::function<void(int64_t done, int64_t total)> progress = {};  ///< in examples
};

/// A mean over examples.
struct Metric {
  std::string name;
  double value = 0;           ///< NaN over no examples
  double standard_error = 0;  ///< of the value: sample deviation / sqrt(examples); NaN for fewer than two
};
Metric mean_metric(std::string name, std::span<const double> scores);
/// e^mean of losses, and its standard error to first order: value times that of the mean.
Metric perplexity_metric(std::string name, std::span<const double> losses);

struct TaskResult {
  std::vector<Metric> metrics;
  std::vector<io::Json> scores;     ///< an object an example, in the order of the examples, with its "index"
  bool complete = true;             ///< false where `stop` or an error ended it early: the rest is over what was done
  std::optional<Error> error = {};  ///< which one, with the rows that were computed then: "path:line: what"
};

/// {"index": i}, and "id" unless it is null.
io::Json example_score(size_t index, const io::Json& id);

}  // namespace ratel::tasks
