#include "test/support/reference_model.h"

#include "ops/arithmetic.h"
#include "ops/embedding.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/unary.h"
#include "ops/view.h"

namespace ratel::test {
namespace {

Tensor linear(const Tensor& x, const Tensor& weight) { return matmul_reference(x, transpose(weight, 0, 1)); }

}  // namespace

Tensor reference_block(const Tensor& x, const Weights& weights, const std::string& prefix, int64_t heads,
                       const HeadPatterns& patterns, Recurrence recurrence) {
  const auto weight = [&](const char* name) { return weights.at(prefix + name); };
  const Tensor projection = linear(rms_norm_reference(x, weight("mixer.norm.weight")), weight("mixer.in_proj.weight"));
  const Tensor mixed = recurrent_attention_reference(projection, heads, patterns, recurrence);
  const Tensor middle = x + linear(mixed, weight("mixer.out_proj.weight"));
  const Tensor normed = rms_norm_reference(middle, weight("feed_forward.norm.weight"));
  return middle +
         linear(gelu_reference(linear(normed, weight("feed_forward.fc1.weight"))), weight("feed_forward.fc2.weight"));
}

Tensor reference_logits(const Tensor& tokens, const Weights& weights, int64_t heads,
                        const std::vector<HeadPatterns>& layers, Recurrence recurrence) {
  Tensor x = embedding_reference(weights.at("embedding.weight"), tokens);
  for (size_t layer = 0; layer < layers.size(); ++layer)
    x = reference_block(x, weights, "layers." + std::to_string(layer) + '.', heads, layers[layer], recurrence);
  return linear(rms_norm_reference(x, weights.at("norm.weight")), weights.at("embedding.weight"));
}

}  // namespace ratel::test
