// The model against the numbers of an independent program: test/golden/model_N.safetensors.
#include "test/support/golden.h"

#include <cmath>
#include <map>

#include "autograd/gradient.h"
#include "models/names.h"
#include "models/rat_plus.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/cross_entropy.h"
#include "ops/reduce.h"
#include "ops/view.h"
#include "test/models/golden_model.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/reference_model.h"

using ratel::Device;
using ratel::DType;
using ratel::NamedTensor;
using ratel::RatPlus;
using ratel::Tensor;
using ratel::nn::ParamStore;
using ratel::nn::Scope;
namespace test = ratel::test;

namespace {

constexpr uint64_t kDraws = 16;

struct Result {
  Tensor logits, loss;
  std::vector<NamedTensor> grads;
};

/// The model's weights in draw n: the golden ones for n = 0, else each moved by a tenth of its tensor's size, which the
/// composed model in f64 answers for.
std::vector<NamedTensor> weights_of(const test::GoldenModel& c, uint64_t n) {
  std::vector<NamedTensor> weights = c.tensors("");
  ratel::Rng rng(n);
  for (NamedTensor& weight : weights) {
    const Tensor& w = weight.tensor;
    const double size = std::sqrt(ratel::mean(w * w).item());
    if (n > 0) weight.tensor = w + ratel::random_normal(w.shape(), rng, 0, 0.1 * size, w.dtype());
  }
  return weights;
}

Result run_model(const test::GoldenModel& c, DType dtype, Device device, uint64_t draw = 0) {
  ParamStore store(dtype, 0, ratel::nn::Start::init, device);
  const RatPlus model(Scope(store), c.config);
  store.load(weights_of(c, draw), c.name);
  const Tensor tokens = to(c.golden["tokens"], device), labels = to(c.golden["labels"], device);
  Result result{detach(model(tokens, c.pattern)), {}, {}};
  result.loss = model.loss(tokens, labels, c.pattern);
  backward(result.loss);
  for (const auto& [path, tensor] : store.parameters()) result.grads.push_back({path, grad(tensor)});
  return result;
}

/// The same from the ops' references.
Result run_reference(const test::GoldenModel& c, DType dtype, uint64_t draw = 0) {
  test::Weights weights;
  for (const auto& [path, tensor] : weights_of(c, draw)) weights[path] = requires_grad(to(tensor, dtype));
  std::vector<ratel::HeadPatterns> layers;
  for (int64_t layer = 0; layer < c.config.layers; ++layer)
    layers.push_back(c.pattern.of_layer(layer, c.config.layers));
  const Tensor logits =
      test::reference_logits(c.golden["tokens"], weights, c.config.heads, layers, c.config.recurrence);
  Result result{detach(logits), cross_entropy_reference(logits, c.golden["labels"]), {}};
  backward(result.loss);
  for (const auto& [path, tensor] : c.tensors("")) result.grads.push_back({path, grad(weights.at(path))});
  return result;
}

Tensor grad_of(const Result& result, const std::string& path) {
  for (const auto& [name, tensor] : result.grads)
    if (name == path) return tensor;
  return {};
}

}  // namespace

BOOST_AUTO_TEST_CASE(in_f64_logits_loss_and_gradients_are_the_golden_ones) {
  for (const Device device : test::devices())
    for (int number = 0; number < test::kGoldenModels; ++number) {
      const test::GoldenModel c(number);
      const Result ours = run_model(c, DType::f64, device);
      const std::string what = ratel::concat_text(c.name, " on ", device);
      test::check_close(ours.logits, c.golden["logits"], 1e-10, what + " logits");
      test::check_close(ours.loss, reshape(c.golden["loss"], {}), 1e-10, what + " loss");
      const auto expected = c.tensors("grad.");
      BOOST_TEST(expected.size() == ours.grads.size());
      for (const auto& [path, tensor] : expected)
        test::check_close(grad_of(ours, path), tensor, 1e-9, ratel::concat_text(what, " gradient of ", path));
    }
}

BOOST_AUTO_TEST_CASE(the_composed_model_is_the_golden_one_too) {
  for (int number = 0; number < test::kGoldenModels; ++number) {
    const test::GoldenModel c(number);
    const Result composed = run_reference(c, DType::f64);
    test::check_close(composed.logits, c.golden["logits"], 1e-10, c.name + " logits");
    for (const auto& [path, tensor] : c.tensors("grad."))
      test::check_close(grad_of(composed, path), tensor, 1e-9, c.name + " gradient of " + path);
  }
}

// A rounding early in a model moves every number after it, so that a draw is one sample more than it is many: each
// tensor's errors are taken together over all models and draws.
BOOST_AUTO_TEST_CASE(in_f32_errors_are_at_most_twice_those_of_the_composed_model) {
  for (const Device device : test::devices()) {
    if (test::is_imitated(device)) {
      test::note_skipped("the draws that the rule needs take minutes on the twin");
      continue;
    }
    std::map<std::string, test::RoundingErrors> errors;
    for (int number = 0; number < test::kGoldenModels; ++number) {
      const test::GoldenModel c(number);
      for (uint64_t draw = 0; draw < kDraws; ++draw) {
        const Result ours = run_model(c, DType::f32, device, draw), plain = run_reference(c, DType::f32, draw);
        // The first draw is held to the golden numbers themselves.
        const Result exact = run_reference(c, DType::f64, draw);
        errors["logits"].add(ours.logits, plain.logits, draw == 0 ? c.golden["logits"] : exact.logits);
        for (const auto& [path, tensor] : c.tensors("grad."))
          errors[path].add(grad_of(ours, path), grad_of(plain, path), draw == 0 ? tensor : grad_of(exact, path));
      }
    }
    for (auto& [name, error] : errors) error.check(ratel::concat_text(name, " on ", device));
  }
}
