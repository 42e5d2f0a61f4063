#pragma once

#include <limits>

#include "core/rng.h"
#include "models/rat_plus.h"
#include "nn/param_store.h"
#include "ops/copy.h"
#include "ops/create.h"

namespace ratel::test {

/// Widths that end inside the kernels' panels and vectors.
inline RatPlusConfig small_config(int64_t vocab_size = 43) {
  return {.vocab_size = vocab_size, .layers = 2, .channels = 36, .heads = 3};
}

/// A model whose weights are large enough for it to have opinions: those of N(0, 0.02) hold all tokens for alike.
struct SmallModel {
  explicit SmallModel(DType dtype = DType::f32, Device device = kCpu, const RatPlusConfig& config = small_config())
      : store(dtype, 3, nn::Start::init, device), model(nn::Scope(store), config) {
    Rng rng(5);
    for (const auto& [path, tensor] : store.parameters())
      if (tensor.rank() == 2) copy_into(detach(tensor), random_normal(tensor.shape(), rng, 0, 0.2, dtype, device));
  }
  nn::ParamStore store;
  RatPlus model;
};

/// From here on nothing it computes is finite.
inline void spoil(const RatPlus& model) {
  const Tensor& weight = model.norm.weight;
  copy_into(detach(weight), full(weight.shape(), std::numeric_limits<double>::quiet_NaN(), weight.dtype()));
}

inline std::vector<int64_t> random_tokens(Rng& rng, int64_t count, int64_t vocab_size = 43) {
  return to_vector<int64_t>(random_integers({count}, rng, vocab_size));
}

/// Of every kind: dense, dilated, local, mixed by layer and head, and top-k blocks.
inline const std::vector<ModelPattern>& some_patterns() {
  static const std::vector<ModelPattern> all = {
      {},
      ModelPattern::uniform({.dilation = 4}),
      ModelPattern::uniform({.dilation = 16, .window = 5, .initial = 2}),
      ModelPattern::uniform({.dilation = -1, .window = 7, .initial = 1}),
      {{{{8, 0, 0}, {1, 0, 0}, {4, 3, 0}}, {{2, 0, 0}}}},
      ModelPattern::uniform({.dilation = 8, .top_blocks = 3}),
      {{{{1, 0, 0}, {.dilation = 4, .top_blocks = 3, .score = BlockScore::minmax}, {16, 0, 0}},
        {{.dilation = 8, .top_blocks = 2, .score = BlockScore::mean}}}}};
  return all;
}

}  // namespace ratel::test
