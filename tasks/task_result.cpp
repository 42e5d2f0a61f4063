#include "tasks/task_result.h"

#include <cmath>
#include <limits>

namespace ratel::tasks {

Metric mean_metric(std::string name, std::span<const double> scores) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const auto n = static_cast<double>(scores.size());
  if (scores.empty()) return {std::move(name), kNone, kNone};
  double sum = 0, squares = 0;
  for (const double score : scores) sum += score;
  const double mean = sum / n;
  for (const double score : scores) squares += (score - mean) * (score - mean);
  return {std::move(name), mean, scores.size() < 2 ? kNone : std::sqrt(squares / (n - 1) / n)};
}

Metric perplexity_metric(std::string name, std::span<const double> losses) {
  Metric metric = mean_metric(std::move(name), losses);
  metric.value = std::exp(metric.value);
  metric.standard_error *= metric.value;
  return metric;
}

io::Json example_score(size_t index, const io::Json& id) {
  io::Json score = io::Json::object({{"index", index}});
  if (!id.is_null()) score.set("id", id);
  return score;
}

}  // namespace ratel::tasks
