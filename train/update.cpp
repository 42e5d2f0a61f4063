#include "train/update.h"

#include <exception>
#include <utility>

#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/view.h"

namespace ratel::train {
namespace {

BatchPart empty_part_like(const BatchPart& part) {
  return {empty_like(part.tokens),
          {empty_like(part.labels.labels), empty_like(part.labels.share)},
          empty_like(part.share),
          0};
}

void copy_part(const BatchPart& into, const BatchPart& part) {
  copy_into(into.tokens, part.tokens);
  copy_into(into.labels.labels, part.labels.labels);
  copy_into(into.labels.share, part.labels.share);
  copy_into(into.share, part.share);
}

/// For the scope of a step or a recording: where it is left by an exception, no gradients stay.
class NoGradientsLeft {
 public:
  explicit NoGradientsLeft(const Optimizer& optimizer) : optimizer_(optimizer) {}
  ~NoGradientsLeft() {
    if (std::uncaught_exceptions() > exceptions_) optimizer_.zero_grad();
  }
  NoGradientsLeft(const NoGradientsLeft&) = delete;
  NoGradientsLeft& operator=(const NoGradientsLeft&) = delete;

 private:
  const Optimizer& optimizer_;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace

Update::Update(const RatPlus& model, Optimizer& optimizer, std::vector<ModelPattern> patterns, Recompute recompute,
               Tensor losses, Tensor outcome)
    : model_(&model),
      optimizer_(&optimizer),
      patterns_(std::move(patterns)),
      recompute_(recompute),
      losses_(std::move(losses)),
      outcome_(std::move(outcome)) {}

Tensor Update::loss_of(size_t pattern, size_t part) const {
  const auto row = static_cast<int64_t>(pattern), column = static_cast<int64_t>(part);
  return reshape(slice(slice(losses_, 0, row, row + 1), 1, column, column + 1), {});
}

void Update::add(const BatchPart& part, const ModelPattern& pattern, const Tensor& loss) const {
  const Tensor computed = model_->loss(part.tokens, part.labels, pattern, recompute_);
  copy_into(loss, computed);
  backward(computed, part.share);
}

void Update::finish() const {
  optimizer_->step(losses_, outcome_);
  optimizer_->zero_grad();
}

void Update::run(std::span<const BatchPart> parts) {
  check(static_cast<int64_t>(parts.size()) == losses_.dim(1), "update: expected ", losses_.dim(1), " parts, found ",
        parts.size());
  const NoGradientsLeft clean(*optimizer_);
  size_t stage = 0;
  for (size_t pattern = 0; pattern < patterns_.size(); ++pattern) {
    for (size_t part = 0; part < parts.size(); ++part) {
      const Tensor loss = loss_of(pattern, part);
      if (graph_ == nullptr) {
        add(parts[part], patterns_[pattern], loss);
        continue;
      }
      copy_part(in_, parts[part]);
      graph_->run(part == 0 ? stage : stage + 1);
      copy_into(loss, loss_);
    }
    stage += parts.size() > 1 ? 2 : 1;
  }
  if (graph_ == nullptr) return finish();
  graph_->run(stage);
  optimizer_->note_recorded_step();
  outcome_.storage()->bump_version();
}

void Update::record(const BatchPart& like) {
  const NoGradientsLeft clean(*optimizer_);
  graph_.reset();
  in_ = empty_part_like(like);
  loss_ = empty({}, losses_.dtype(), losses_.device());
  std::vector<DeviceGraph::Stage> stages;
  for (const ModelPattern& pattern : patterns_) {
    const auto part = [this, &pattern] { add(in_, pattern, loss_); };
    stages.push_back({part, DeviceGraph::Runs::once});
    if (losses_.dim(1) > 1) stages.push_back({part, DeviceGraph::Runs::any});
  }
  stages.push_back({[this] { finish(); }, DeviceGraph::Runs::once});
  graph_ = std::make_unique<DeviceGraph>(model_->device(), stages);
}

}  // namespace ratel::train
