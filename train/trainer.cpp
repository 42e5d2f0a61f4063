#include "train/trainer.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "core/device_memory.h"
#include "ops/backward.h"
#include "ops/create.h"
#include "train/schedule.h"

namespace ratel::train {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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
      batches_(std::move(batches)),
      own_(config.pattern()),
      sparse_(config.sparse_pattern()) {
  check(config.data.batch_size % config.data.accumulate == 0, "trainer: ", config.data.accumulate,
        " parts do not divide a batch of ", config.data.batch_size);
}

double Trainer::accumulate_gradient(const std::vector<Batch>& parts, const ModelPattern& pattern) const {
  int64_t counted = 0;
  for (const Batch& part : parts) counted += part.counted;
  double total = 0;
  for (const Batch& part : parts) {
    const double share = counted > 0 ? static_cast<double>(part.counted) / static_cast<double>(counted) : 0;
    const Tensor loss = model_->loss(part.tokens, part.labels, pattern,
                                     config_->train.recompute ? Recompute::blocks : Recompute::nothing);
    total += share * loss.item();
    backward(loss, full({}, share, loss.dtype(), loss.device()));
  }
  return total;
}

Trainer::Update Trainer::update(const std::vector<Batch>& parts, std::span<const Pass> passes, double rate) {
  optimizer_->zero_grad();
  Update result{{}, std::numeric_limits<double>::quiet_NaN(), false};
  bool finite = true;
  for (const Pass pass : passes) {
    result.losses.push_back(accumulate_gradient(parts, pass == Pass::sparse ? sparse_ : own_));
    finite = finite && std::isfinite(result.losses.back());
  }
  if (!finite) return result;
  const UpdateResult applied = optimizer_->step(rate);
  result.grad_norm = applied.grad_norm;
  result.applied = applied.applied;
  return result;
}

StepReport Trainer::step(const std::function<void(const SkippedUpdate&)>& on_skipped) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t batch_size = config_->data.batch_size, parts_count = config_->data.accumulate;
  const int64_t part_size = batch_size / parts_count;
  const auto& o = config_->optimizer;
  std::vector<Batch> parts;
  for (int64_t part = 0; part < parts_count; ++part)
    parts.push_back(moved_to(batches_(progress_.samples + part * part_size, part_size), model_->device()));

  StepReport report;
  report.step = progress_.step + 1;
  report.steps = config_->train.steps;
  report.learning_rate = learning_rate(progress_.step, report.steps, o.peak_rate, o.warmup_fraction, o.final_rate);
  const auto run = [&](const std::vector<Pass>& passes) {
    Update result = update(parts, passes, report.learning_rate);
    if (!result.applied) {
      ++report.skipped;
      size_t failed = 0;  // the first pass without a finite loss; the last one where only the gradient is not
      while (failed + 1 < passes.size() && std::isfinite(result.losses[failed])) ++failed;
      if (on_skipped)
        on_skipped({report.step, passes[failed] == Pass::sparse, result.losses[failed], result.grad_norm,
                    progress_.samples, batch_size, progress_.skipped_in_a_row + 1});
    }
    return result;
  };
  switch (config_->train.joint) {
    case Joint::alternate: {
      const Update sparse = run({Pass::sparse}), own = run({Pass::own});
      report.sparse_loss = sparse.losses[0];
      report.sparse_grad_norm = sparse.grad_norm;
      report.loss = own.losses[0];
      report.grad_norm = own.grad_norm;
      break;
    }
    case Joint::sum: {
      const Update both = run({Pass::sparse, Pass::own});
      report.sparse_loss = both.losses[0];
      report.loss = both.losses[1];
      report.grad_norm = both.grad_norm;
      break;
    }
    case Joint::off: {
      const Update own = run({Pass::own});
      report.loss = own.losses[0];
      report.grad_norm = own.grad_norm;
      break;
    }
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
