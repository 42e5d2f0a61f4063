#include "train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "autograd/gradient.h"
#include "ops/adamw.h"
#include "ops/copy.h"
#include "ops/reduce.h"

namespace ratel::train {
namespace {

constexpr double kClipEps = 1e-6;  // of torch.nn.utils.clip_grad_norm_

}  // namespace

Optimizer::Optimizer(const nn::ParamStore& parameters, const nn::ParamStore& copies,
                     const TrainConfig::Optimizer& options)
    : parameters_(parameters.parameters()),
      moments_(accumulate_dtype(parameters.dtype()), 0, nn::Start::init, parameters.device()),
      options_(options) {
  for (const auto& [path, parameter] : parameters_) {
    copies_.push_back({path, copies.at(path)});
    check(copies.at(path).shape() == parameter.shape(), "optimizer: ", path, " has shape ", parameter.shape(),
          ", its copy ", copies.at(path).shape());
  }
  for (const char* moment : {"m.", "v."})
    for (const auto& [path, parameter] : parameters_)
      requires_grad(moments_.add(moment + path, parameter.shape(), nn::constant(0)), false);
}

UpdateResult Optimizer::step(double rate) {
  std::vector<Tensor> grads;
  for (const auto& [path, copy] : copies_) grads.push_back(grad(copy));
  const double norm = global_norm(grads);
  if (!std::isfinite(norm)) return {norm, false};
  const double scale = options_.clip > 0 ? std::min(1.0, options_.clip / (norm + kClipEps)) : 1.0;
  ++steps_;
  const AdamWStep update{rate, options_.beta1, options_.beta2, options_.eps, options_.weight_decay, steps_, scale};
  const auto& moments = moments_.parameters();  // all m, then all v
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (grads[i].defined())
      adamw(parameters_[i].tensor, grads[i], moments[i].tensor, moments[parameters_.size() + i].tensor, update);
  update_copies();
  return {norm, true};
}

void Optimizer::update_copies() const {
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (!is_same_tensor(copies_[i].tensor, parameters_[i].tensor)) copy_into(copies_[i].tensor, parameters_[i].tensor);
}

void Optimizer::zero_grad() const {
  for (const auto& copy : copies_) ratel::zero_grad(copy.tensor);
}

void Optimizer::load(const std::vector<nn::NamedTensor>& state, int64_t steps, std::string_view source) {
  moments_.load(state, source);
  steps_ = steps;
}

}  // namespace ratel::train
