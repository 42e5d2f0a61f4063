#include "train/validation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/clock.h"
#include "io/file.h"
#include "io/metrics_file.h"
#include "train/evaluate.h"

namespace ratel::train {
namespace {

/// Begins of the windows that a validation is made of; none: it is made of the whole file.
std::vector<int64_t> windows_of(const io::TokenFile& file, const TrainConfig& config) {
  const int64_t T = config.data.seq_len, most = config.train.validate_tokens;
  if (most == 0 || most >= file.size() - 1) return {};
  return spread_windows(0, (file.size() - 1) / T, T, std::max(T, most));
}

constexpr double kNotFinite = std::numeric_limits<double>::quiet_NaN();  // which JSON writes as null

}  // namespace

io::Json to_json(const ValidationReport& report) {
  io::Json row = io::Json::object({{"step", report.step}, {"validation_loss", report.loss}});
  if (report.sparse_loss) row.set("validation_sparse_loss", *report.sparse_loss);
  row.set("validation_tokens", report.validation_tokens);
  row.set("validation_seconds", report.validation_seconds);
  row.set("tokens", report.tokens);
  row.set("seconds", report.seconds);
  return row;
}

Validator::Validator(const TrainConfig& config, const std::function<bool()>& stop)
    : config_(config), file_(io::TokenFile::open(config.data.validation, config.model.vocab_size)) {
  if (file_.size() < 2) fail_input(file_.path(), "expected at least 2 tokens to predict one, found ", file_.size());
  file_.validate(stop);
  const std::vector<int64_t> windows = windows_of(file_, config);
  if (windows.empty())
    check_counts(file_, std::array<int64_t, 1>{0}, file_.size() - 1, config.data.eos);
  else
    check_counts(file_, windows, config.data.seq_len, config.data.eos);
}

bool Validator::is_due(int64_t step) const {
  return step >= 1 && (step % config_.train.validate_every == 0 || step == config_.train.steps);
}

std::optional<double> Validator::loss(const RatPlus& model, const ModelPattern& pattern,
                                      const std::function<bool()>& stop, int64_t& tokens) const {
  EvalOptions how{.seq_len = config_.data.seq_len, .pattern = pattern, .eos = config_.data.eos};
  // Training's; its memory is beside what a recorded step keeps.
  how.batch_size = config_.data.batch_size / config_.data.accumulate;
  how.stop = stop;
  EvalResult result;
  const std::vector<int64_t> windows = windows_of(file_, config_);
  if (windows.empty()) {
    result = evaluate(model, file_, how);
    if (!result.complete) return {};
  } else {
    const auto losses = window_losses(model, file_, windows, how);
    if (losses.size() < windows.size()) return {};
    result = mean_of(losses);
  }
  tokens = result.tokens;
  return result.loss;
}

std::optional<ValidationReport> Validator::run(const RatPlus& model, const Progress& progress,
                                               const std::function<bool()>& stop) const {
  const auto begin = Clock::now();
  ValidationReport report;
  report.step = progress.step;
  report.tokens = progress.tokens;
  report.seconds = progress.seconds;
  const auto own = loss(model, config_.pattern(), stop, report.validation_tokens);
  if (!own) return {};
  report.loss = *own;
  if (config_.train.joint != Joint::off) {
    report.sparse_loss = loss(model, config_.sparse_pattern(), stop, report.validation_tokens);
    if (!report.sparse_loss) return {};
  }
  report.validation_seconds = seconds_since(begin);
  return report;
}

DataIdentity Validator::identity() const { return {file_.fingerprint(), file_.size()}; }

std::vector<Validated> validations_of(const std::string& run) {
  std::vector<Validated> result;
  if (!io::path_exists(metrics_path(run))) return result;
  io::visit_metrics(metrics_path(run), [&](const io::Json& row) {
    const io::Json *step = row.find("step"), *loss = row.find("validation_loss");
    if (step != nullptr && loss != nullptr && step->is_int())
      result.push_back({step->as_int(), loss->is_number() ? loss->as_double() : kNotFinite});
  });
  return result;
}

std::optional<int64_t> best_step(const std::vector<Validated>& validations,
                                 const std::function<bool(int64_t step)>& has) {
  const Validated* best = nullptr;
  for (const Validated& one : validations)
    if (std::isfinite(one.loss) && (best == nullptr || one.loss < best->loss) && has(one.step)) best = &one;
  return best == nullptr ? std::nullopt : std::optional(best->step);
}

std::optional<CheckpointEntry> best_checkpoint(const std::string& run, const Warn& warn) {
  std::vector<Validated> validations = validations_of(run);
  std::erase_if(validations, [](const Validated& one) { return !std::isfinite(one.loss); });
  std::ranges::stable_sort(validations, {}, &Validated::loss);
  for (const Validated& one : validations) {
    const CheckpointEntry checkpoint{one.step, checkpoint_path(run, one.step)};
    if (io::is_folder(checkpoint.path) && is_usable(checkpoint, warn)) return checkpoint;
  }
  return {};
}

}  // namespace ratel::train
