#include "train/trainer.h"

#include <cmath>
#include <limits>
#include <utility>

#include "core/clock.h"
#include "core/device_memory.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"
#include "train/schedule.h"

namespace ratel::train {
namespace {

Recompute recompute_of(const TrainConfig& config) {
  return config.train.recompute ? Recompute::blocks : Recompute::nothing;
}

}  // namespace

io::Json to_json(const StepReport& report) {
  io::Json row = io::Json::object({{"step", report.step}, {"loss", report.loss}});
  if (report.sparse_loss) row.set("sparse_loss", *report.sparse_loss);
  row.set("learning_rate", report.learning_rate);
  row.set("grad_norm", report.grad_norm);
  if (report.sparse_grad_norm) row.set("sparse_grad_norm", *report.sparse_grad_norm);
  if (report.skipped > 0) row.set("skipped", report.skipped);
  row.set("tokens", report.tokens);
  row.set("tokens_per_second", report.tokens_per_second);
  row.set("seconds", report.seconds);
  row.set("eta_seconds", report.eta_seconds);
  if (report.mfu) row.set("mfu", *report.mfu);
  row.set("memory_live", report.memory_live);
  row.set("memory_peak", report.memory_peak);
  return row;
}

std::string describe(const SkippedUpdate& skipped) {
  return concat_text("step ", skipped.step, ": loss ", skipped.loss, ", gradient norm ", skipped.grad_norm,
                     skipped.sparse ? " through the sparse pattern" : "", ": not applied; samples ",
                     skipped.first_sample, " to ", skipped.first_sample + skipped.samples - 1);
}

Trainer::Trainer(const TrainConfig& config, const RatPlus& model, Optimizer& optimizer, BatchSource batches)
    : config_(&config),
      model_(&model),
      optimizer_(&optimizer),
      batches_(std::move(batches), config.data.accumulate, config.data.batch_size / config.data.accumulate,
               model.config.vocab_size, model.device(), accumulate_dtype(model.dtype())) {
  const int64_t parts = config.data.accumulate;
  check(config.data.batch_size % parts == 0, "trainer: ", parts, " parts do not divide a batch of ",
        config.data.batch_size);
  passes_ = [&]() -> std::vector<std::vector<Pass>> {
    switch (config.train.joint) {
      case Joint::alternate: return {{Pass::sparse}, {Pass::own}};
      case Joint::sum: return {{Pass::sparse, Pass::own}};
      case Joint::off: break;
    }
    return {{Pass::own}};
  }();
  int64_t size = 0;
  for (const auto& some : passes_) size += static_cast<int64_t>(some.size()) * parts + 2;
  results_ = zeros({size}, DType::f64, model.device());
  int64_t begin = 0;
  const auto next = [&](int64_t count) {
    begin += count;
    return slice(results_, 0, begin - count, begin);
  };
  for (const auto& some : passes_) {
    const auto count = static_cast<int64_t>(some.size());
    std::vector<ModelPattern> patterns;
    for (const Pass pass : some) patterns.push_back(pass == Pass::sparse ? config.sparse_pattern() : config.pattern());
    const Tensor losses = reshape(next(count * parts), {count, parts});
    updates_.emplace_back(model, optimizer, std::move(patterns), recompute_of(config), losses, next(2));
  }
}

std::vector<Trainer::Outcome> Trainer::outcomes(std::span<const BatchPart> parts) const {
  const auto values = to_vector<double>(results_);
  auto value = values.begin();
  std::vector<Outcome> all;
  for (const auto& passes : passes_) {
    Outcome outcome{{}, std::numeric_limits<double>::quiet_NaN(), false};
    bool finite = true;
    for (size_t pass = 0; pass < passes.size(); ++pass) {
      double loss = 0;
      for (const BatchPart& part : parts) loss += part.share_value * *value++;
      finite = finite && std::isfinite(loss);
      outcome.losses.push_back(loss);
    }
    const double norm = *value++;
    if (finite) outcome.grad_norm = norm;  // that of a loss which is not finite says nothing
    outcome.applied = *value++ != 0;
    all.push_back(std::move(outcome));
  }
  return all;
}

StepReport Trainer::step(const std::function<void(const SkippedUpdate&)>& on_skipped) {
  const auto start = Clock::now();
  const int64_t batch_size = config_->data.batch_size;
  const auto& o = config_->optimizer;
  StepReport report;
  report.step = progress_.step + 1;
  report.steps = config_->train.steps;
  report.learning_rate = learning_rate(progress_.step, report.steps, o.peak_rate, o.warmup_fraction, o.final_rate);

  const auto parts = batches_.take(progress_.samples);
  optimizer_->zero_grad();
  // Libraries set themselves up in the first step, which is launched.
  if (config_->train.graph && model_->device().is_cuda() && session_steps_ > 0)
    for (Update& update : updates_)
      if (!update.is_recorded()) update.record(parts.front());
  optimizer_->set_rate(report.learning_rate);
  for (Update& update : updates_) update.run(parts);
  if (report.step < report.steps) batches_.prefetch(progress_.samples + batch_size);  // while the GPU works
  const std::vector<Outcome> found = outcomes(parts);

  for (size_t i = 0; i < found.size(); ++i) {
    const Outcome& outcome = found[i];
    const auto& passes = passes_[i];
    if (!outcome.applied) {
      ++report.skipped;
      size_t failed = 0;  // the first pass without a finite loss; the last one where only the gradient is not
      while (failed + 1 < passes.size() && std::isfinite(outcome.losses[failed])) ++failed;
      if (on_skipped)
        on_skipped({report.step, passes[failed] == Pass::sparse, outcome.losses[failed], outcome.grad_norm,
                    progress_.samples, batch_size, progress_.skipped_in_a_row + 1});
    }
    for (size_t pass = 0; pass < passes.size(); ++pass)
      if (passes[pass] == Pass::sparse)
        report.sparse_loss = outcome.losses[pass];
      else
        report.loss = outcome.losses[pass];
    if (passes.back() == Pass::sparse)
      report.sparse_grad_norm = outcome.grad_norm;
    else
      report.grad_norm = outcome.grad_norm;
  }

  const double elapsed = seconds_since(start);
  session_seconds_ += elapsed;
  ++session_steps_;
  ++progress_.step;
  progress_.samples += batch_size;
  const int64_t tokens = batch_size * config_->data.seq_len;
  progress_.tokens += tokens;
  progress_.seconds += elapsed;
  progress_.skipped_updates += report.skipped;
  progress_.skipped_in_a_row = report.skipped > 0 ? progress_.skipped_in_a_row + 1 : 0;
  report.tokens = progress_.tokens;
  report.tokens_per_second = static_cast<double>(tokens) / elapsed;
  report.seconds = progress_.seconds;
  report.eta_seconds =
      session_seconds_ / static_cast<double>(session_steps_) * static_cast<double>(report.steps - report.step);
  const DeviceMemoryUse memory = memory_use(model_->device());
  report.memory_live = memory.live;
  report.memory_peak = memory.peak;
  return report;
}

}  // namespace ratel::train
