#include "train/run_records.h"

#include <vector>

#include "core/build.h"
#include "train/run_folder.h"

namespace ratel::train {
namespace {

/// Markdown that shows a text as it is.
std::string as_code(const std::string& text) {
  std::string code = "    ";
  for (const char c : text) code += c == '\n' ? "\n    " : std::string(1, c);
  return code;
}

}  // namespace

RunRecords::RunRecords(const std::string& run, const TrainConfig& config, int64_t step, const std::string& command)
    : metrics_(metrics_path(run)),
      events_(run, step + 1),
      own_(simplified(config.pattern()) == ModelPattern{} ? "dense" : "own") {
  events_.text(step + 1, "config", as_code(to_toml(config)));
  events_.text(step + 1, "command", as_code(concat_text(command, command.empty() ? "" : "\n", "ratel ", kVersion)));
}

void RunRecords::step(const StepReport& report) {
  metrics_.append(to_json(report));
  std::vector<io::Scalar> scalars{{"loss/" + own_, report.loss}};
  if (report.sparse_loss) scalars.push_back({"loss/sparse", *report.sparse_loss});
  scalars.push_back({"learning_rate", report.learning_rate});
  scalars.push_back({"gradient_norm", report.grad_norm});
  if (report.sparse_grad_norm) scalars.push_back({"gradient_norm_sparse", *report.sparse_grad_norm});
  scalars.push_back({"tokens_per_second", report.tokens_per_second});
  if (report.mfu) scalars.push_back({"mfu", *report.mfu});
  scalars.push_back({"memory/live", static_cast<double>(report.memory_live)});
  scalars.push_back({"memory/peak", static_cast<double>(report.memory_peak)});
  if (report.skipped > 0) scalars.push_back({"skipped_updates", static_cast<double>(report.skipped)});
  events_.scalars(report.step, scalars);
}

void RunRecords::validation(const ValidationReport& report) {
  metrics_.append(to_json(report));
  std::vector<io::Scalar> scalars{{"validation/" + own_, report.loss}};
  if (report.sparse_loss) scalars.push_back({"validation/sparse", *report.sparse_loss});
  events_.scalars(report.step, scalars);
}

void RunRecords::sync() {
  metrics_.sync();
  events_.sync();
}

}  // namespace ratel::train
