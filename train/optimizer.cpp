#include "train/optimizer.h"

#include <cmath>

#include "autograd/gradient.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel::train {
namespace {

/// Throws Error for what would fail at the first step, or train nothing.
void check_stores(const nn::ParamStore& parameters, const nn::ParamStore& copies) {
  check(!parameters.parameters().empty(), "optimizer: the store has no parameters; make the layers first");
  check(parameters.dtype() == master_dtype(parameters.dtype()), "optimizer: expected parameters of f32 or f64, found ",
        parameters.dtype(), "; a bf16 model is trained with a store of f32 masters beside its own");
  if (&copies == &parameters) return;
  check(parameters.dtype() == DType::f32 && copies.dtype() == DType::bf16,
        "optimizer: expected parameters of f32 and copies of bf16, found ", parameters.dtype(), " and ",
        copies.dtype());
  check(parameters.device() == copies.device(), "optimizer: parameters are on ", parameters.device(), ", copies on ",
        copies.device());
  check(parameters.parameters().size() == copies.parameters().size(),
        "optimizer: expected as many copies as parameters, ", parameters.parameters().size(), ", found ",
        copies.parameters().size());
}

}  // namespace

Optimizer::Optimizer(const nn::ParamStore& parameters, const nn::ParamStore& copies,
                     const TrainConfig::Optimizer& options, const ScaleOf& scale_of)
    : parameters_(parameters.parameters()),
      moments_(accumulate_dtype(parameters.dtype()), 0, nn::Start::init, parameters.device()),
      options_(options),
      steps_(zeros({}, DType::i64, parameters.device())),
      rate_(zeros({}, DType::f64, parameters.device())) {
  check_stores(parameters, copies);
  TrainConfig within_range;
  within_range.optimizer = options;
  within_range.validate();
  for (const auto& [path, parameter] : parameters_) {
    copies_.push_back({path, copies.at(path)});
    check(copies.at(path).shape() == parameter.shape(), "optimizer: ", path, " has shape ", parameter.shape(),
          ", its copy ", copies.at(path).shape());
    scales_.push_back(scale_of ? scale_of({path, parameter}) : AdamWScale());
    check_scale(scales_.back(), "optimizer: " + path);
  }
  update_copies();
  for (const char* moment : {"m.", "v."})
    for (const auto& [path, parameter] : parameters_)
      requires_grad(moments_.add(moment + path, parameter.shape(), nn::constant(0)), false);
}

UpdateResult Optimizer::step(double rate) {
  const Tensor outcome = empty({2}, DType::f64, steps_.device());
  set_rate(rate);
  step({}, outcome);
  const auto values = to_vector<double>(outcome);
  return {values[0], values[1] != 0};
}

void Optimizer::set_rate(double rate) {
  check(std::isfinite(rate), "optimizer: expected a finite learning rate, found ", rate);
  fill_into(rate_, rate);
}

void Optimizer::step(const Tensor& losses, const Tensor& outcome) {
  const AdamWStep update{0, options_.beta1, options_.beta2, options_.eps, options_.weight_decay, 0};
  const auto& moments = moments_.parameters();  // all m, then all v
  std::vector<AdamWParameter> all;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor &parameter = parameters_[i].tensor, &computed = copies_[i].tensor;
    if (trains(i) && grad(computed).defined())
      all.push_back({parameter, grad(computed), moments[i].tensor, moments[parameters_.size() + i].tensor,
                     is_same_tensor(computed, parameter) ? Tensor() : computed, scales_[i]});
  }
  clipped_adamw(all, update, options_.clip, {rate_, losses, steps_, outcome});
}

bool Optimizer::trains(size_t i) const { return needs_grad(parameters_[i].tensor) && needs_grad(copies_[i].tensor); }

void Optimizer::update_copies() const {
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (!is_same_tensor(copies_[i].tensor, parameters_[i].tensor)) copy_into(copies_[i].tensor, parameters_[i].tensor);
}

void Optimizer::zero_grad() const {
  for (const auto& copy : copies_) ratel::zero_grad(copy.tensor);
}

void Optimizer::note_recorded_step() const {
  const auto& moments = moments_.parameters();  // all m, then all v
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!trains(i)) continue;
    for (const auto* written : {&parameters_[i], &copies_[i], &moments[i], &moments[parameters_.size() + i]})
      written->tensor.storage()->bump_version();
  }
  steps_.storage()->bump_version();
}

void Optimizer::load(const std::vector<NamedTensor>& state, int64_t steps, std::string_view source) {
  moments_.load(state, source);
  copy_into(steps_, full({}, static_cast<double>(steps), DType::i64));
}

}  // namespace ratel::train
