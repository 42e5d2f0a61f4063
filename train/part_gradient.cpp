#include "train/part_gradient.h"

#include <utility>

#include "ops/backward.h"
#include "ops/copy.h"

namespace ratel::train {

PartGradient::PartGradient(const RatPlus& model, ModelPattern pattern, Recompute recompute, Launches launches)
    : model_(&model), pattern_(std::move(pattern)), recompute_(recompute), launches_(launches) {}

void PartGradient::compute(const BatchPart& part, const Tensor& loss) const {
  const Tensor computed = model_->loss(part.tokens, part.labels, pattern_, recompute_);
  copy_into(loss, computed);
  backward(computed, part.share);
}

void PartGradient::add(const BatchPart& part, const Tensor& loss) {
  if (launches_ == Launches::each) return compute(part, loss);
  if (!loss_.defined()) {
    in_ = {empty_like(part.tokens),
           {empty_like(part.labels.labels), empty_like(part.labels.share)},
           empty_like(part.share),
           0};
    loss_ = empty_like(loss);
  }
  copy_into(in_.tokens, part.tokens);
  copy_into(in_.labels.labels, part.labels.labels);
  copy_into(in_.labels.share, part.labels.share);
  copy_into(in_.share, part.share);
  if (graph_ != nullptr)
    graph_->run();
  else
    compute(in_, loss_);
  copy_into(loss, loss_);
}

void PartGradient::record() {
  graph_ = std::make_unique<DeviceGraph>(model_->device(), [this] { compute(in_, loss_); });
}

}  // namespace ratel::train
