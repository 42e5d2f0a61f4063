#include "train/optimizer.h"

#include "autograd/gradient.h"
#include "ops/adamw.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel::train {
Optimizer::Optimizer(const nn::ParamStore& parameters, const nn::ParamStore& copies,
                     const TrainConfig::Optimizer& options)
    : parameters_(parameters.parameters()),
      moments_(accumulate_dtype(parameters.dtype()), 0, nn::Start::init, parameters.device()),
      options_(options),
      steps_(zeros({}, DType::i64, parameters.device())) {
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
  const Tensor outcome = empty({2}, DType::f64, steps_.device());
  step(rate, {}, outcome);
  const auto values = to_vector<double>(outcome);
  return {values[0], values[1] != 0};
}

void Optimizer::step(double rate, const Tensor& losses, const Tensor& outcome) {
  const AdamWStep update{rate, options_.beta1, options_.beta2, options_.eps, options_.weight_decay, 0};
  const auto& moments = moments_.parameters();  // all m, then all v
  std::vector<AdamWParameter> all;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor &parameter = parameters_[i].tensor, &computed = copies_[i].tensor;
    if (grad(computed).defined())
      all.push_back({parameter, grad(computed), moments[i].tensor, moments[parameters_.size() + i].tensor,
                     is_same_tensor(computed, parameter) ? Tensor() : computed});
  }
  clipped_adamw(all, update, options_.clip, {losses, steps_, outcome});
}

void Optimizer::update_copies() const {
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (!is_same_tensor(copies_[i].tensor, parameters_[i].tensor)) copy_into(copies_[i].tensor, parameters_[i].tensor);
}

void Optimizer::zero_grad() const {
  for (const auto& copy : copies_) ratel::zero_grad(copy.tensor);
}

void Optimizer::clear_grad() const {
  for (const auto& [path, copy] : copies_)
    if (const Tensor there = grad(copy); there.defined())
      fill_into(there, 0);
    else if (needs_grad(copy))
      set_grad(copy, zeros(copy.shape(), accumulate_dtype(copy.dtype()), copy.device()));
}

std::vector<const void*> Optimizer::gradient_places() const {
  std::vector<const void*> places;
  for (const auto& copy : copies_) places.push_back(grad(copy.tensor).defined() ? grad(copy.tensor).data() : nullptr);
  return places;
}

void Optimizer::load(const std::vector<nn::NamedTensor>& state, int64_t steps, std::string_view source) {
  moments_.load(state, source);
  copy_into(steps_, full({}, static_cast<double>(steps), DType::i64));
}

}  // namespace ratel::train
