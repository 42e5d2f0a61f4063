#include "models/rat_plus.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/checkpoint.h"
#include "ops/cached_attention.h"

namespace ratel {
namespace {

constexpr int64_t kMostWords = int64_t{1} << 31, kMostChannels = int64_t{1} << 20, kMostLayers = 10'000;

void check_between(const char* name, int64_t value, int64_t least, int64_t most) {
  check(value >= least && value <= most, "rat_plus: expected ", name, " between ", least, " and ", most, ", found ",
        value);
}

/// What RatPlus's members are made from must be checked before the first of them is.
const RatPlusConfig& validated(const RatPlusConfig& config) {
  config.validate();
  return config;
}

std::vector<nn::RatPlusBlock> make_blocks(const nn::Scope& s, const RatPlusConfig& config) {
  std::vector<nn::RatPlusBlock> blocks;
  for (int64_t layer = 0; layer < config.layers; ++layer)
    blocks.emplace_back(s / layer, nn::RatPlusLayerConfig{config.channels, config.heads, config.recurrence,
                                                          config.norm_eps, config.rope_base});
  return blocks;
}

}  // namespace

void RatPlusConfig::validate() const {
  check_between("vocab_size", vocab_size, 1, kMostWords);
  check_between("layers", layers, 1, kMostLayers);
  check_between("channels", channels, 2, kMostChannels);
  check_between("heads", heads, 1, channels);
  check_heads(heads, channels, "rat_plus");
  check(std::isfinite(norm_eps) && norm_eps > 0, "rat_plus: expected norm_eps above 0, found ", norm_eps);
  check(std::isfinite(rope_base) && rope_base > 1, "rat_plus: expected rope_base above 1, found ", rope_base);
}

int64_t RatPlusConfig::parameter_count() const {
  const int64_t projections = (recurrence == Recurrence::gated ? 5 : 4) + 1, feed_forward = 4 + 4;
  const int64_t layer = (projections + feed_forward) * channels * channels + 2 * channels;
  return vocab_size * channels + layers * layer + channels;
}

RatPlusConfig rat_plus_preset(std::string_view name) {
  struct Preset {
    std::string_view name;
    int64_t vocab_size, layers, channels, heads;
  };
  constexpr std::array kPresets{Preset{"tiny", 257, 4, 128, 2}, Preset{"small", 257, 8, 384, 6},
                                Preset{"1b", 32000, 24, 2048, 16}, Preset{"3b", 32000, 28, 2560, 20},
                                Preset{"7b", 32000, 32, 4096, 32}};
  std::string known;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return {preset.vocab_size, preset.layers, preset.channels, preset.heads};
    known += (known.empty() ? "" : ", ") + std::string(preset.name);
  }
  fail("rat_plus: no preset \"", name, "\"; there are ", known);
}

const HeadPatterns& ModelPattern::of_layer(int64_t layer, int64_t count) const {
  check(layer >= 0 && layer < count, "pattern: layer ", layer, " of ", count, " does not exist");
  check(layers.size() == 1 || static_cast<int64_t>(layers.size()) == count, "pattern: expected patterns for 1 or ",
        count, " layers, found ", layers.size());
  return layers[layers.size() == 1 ? 0 : static_cast<size_t>(layer)];
}

void ModelPattern::check_fits(const RatPlusConfig& config) const {
  for (int64_t layer = 0; layer < config.layers; ++layer)
    check_patterns(of_layer(layer, config.layers), config.heads, ("pattern of layer " + std::to_string(layer)).c_str());
}

ModelPattern simplified(ModelPattern pattern) {
  const auto collapse = [](auto& list) {
    const auto differs = [&](const auto& each) { return each != list.front(); };
    if (!list.empty() && std::ranges::none_of(list, differs)) list.resize(1);
  };
  for (HeadPatterns& heads : pattern.layers) collapse(heads);
  collapse(pattern.layers);
  return pattern;
}

ModelPattern parse_model_pattern(std::span<const int64_t> dilation, std::span<const int64_t> window,
                                 std::span<const int64_t> initial, int64_t layers) {
  const auto check_list = [layers](const char* name, std::span<const int64_t> list, auto&& valid,
                                   const char* expected) {
    check(list.size() == 1 || static_cast<int64_t>(list.size()) == layers, name,
          ": expected one value, or one for each of ", layers, " layers; found ", list.size(), " values");
    for (const int64_t value : list) check(valid(value), name, ": expected ", expected, ", found ", value);
  };
  const auto at_least_0 = [](int64_t value) { return value >= 0; };
  check_list(
      "dilation", dilation, [](int64_t value) { return value >= 1 || value == kNoDilatedKeys; },
      "1 or more, or -1 for no dilated keys");
  check_list("window", window, at_least_0, "0 or more");
  check_list("initial", initial, at_least_0, "0 or more");
  const size_t count = std::max({dilation.size(), window.size(), initial.size()});
  const auto value = [](std::span<const int64_t> list, size_t layer) { return list[list.size() == 1 ? 0 : layer]; };
  ModelPattern result{{}};
  for (size_t layer = 0; layer < count; ++layer)
    result.layers.push_back({{value(dilation, layer), value(window, layer), value(initial, layer)}});
  return result;
}

std::ostream& operator<<(std::ostream& out, const ModelPattern& pattern) {
  for (size_t layer = 0; layer < pattern.layers.size(); ++layer)
    for (size_t head = 0; head < pattern.layers[layer].size(); ++head)
      out << (head > 0 ? ", " : layer > 0 ? " | " : "") << pattern.layers[layer][head];
  return out;
}

int64_t kv_cache_bytes(const RatPlusConfig& config, const ModelPattern& pattern, int64_t T, DType dtype) {
  config.validate();
  pattern.check_fits(config);
  check(T >= 0 && T <= kLongestSequence, "kv_cache_bytes: expected T from 0 to ", kLongestSequence, ", found ", T);
  const int64_t d = config.channels / config.heads;
  const auto element_bytes = static_cast<int64_t>(size_of(dtype));
  const auto exact_bytes = static_cast<int64_t>(size_of(accumulate_dtype(dtype)));
  int64_t total = 0;
  const auto add = [&](int64_t rows, int64_t row_bytes) {
    int64_t bytes = 0;
    check(!__builtin_mul_overflow(rows, row_bytes, &bytes) && !__builtin_add_overflow(total, bytes, &total),
          "kv_cache_bytes: a cache of ", T, " tokens has too many bytes to count");
  };
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const Pattern& p : one_a_head(pattern.of_layer(layer, config.layers), config.heads)) {
      add(2 * cache_slots(p, T), d * element_bytes);
      add(summary_rows(p, T), d * exact_bytes);
    }
    if (config.recurrence == Recurrence::gated) add(2, config.channels * exact_bytes);
  }
  return total;
}

RatPlus::RatPlus(const nn::Scope& s, const RatPlusConfig& c)
    : config(validated(c)),
      embedding(s / "embedding", config.vocab_size, config.channels),
      blocks(make_blocks(s / "layers", config)),
      norm(s / "norm", config.channels, config.norm_eps) {}

Tensor RatPlus::hidden(const Tensor& tokens, const ModelPattern& pattern, Recompute recompute,
                       IdCheck ids_are_checked) const {
  check(tokens.rank() == 2 && tokens.dim(1) >= 1, "rat_plus: expected tokens (B, T) with T >= 1, found ",
        tokens.shape());
  Tensor x = embedding(tokens, ids_are_checked);  // (B, T, C)
  for (size_t layer = 0; layer < blocks.size(); ++layer) {
    const nn::RatPlusBlock& block = blocks[layer];
    const HeadPatterns& patterns = pattern.of_layer(static_cast<int64_t>(layer), config.layers);
    if (recompute == Recompute::blocks)
      x = checkpoint([block, patterns](const std::vector<Tensor>& in) { return block(in[0], patterns); }, {x});
    else
      x = block(x, patterns);
  }
  return norm(x);
}

Tensor RatPlus::operator()(const Tensor& tokens, const ModelPattern& pattern) const {
  return embedding.as_head(hidden(tokens, pattern));
}

Tensor RatPlus::loss(const Tensor& tokens, const Tensor& labels, const ModelPattern& pattern,
                     Recompute recompute) const {
  return embedding.head_loss(hidden(tokens, pattern, recompute), labels);
}

Tensor RatPlus::loss(const Tensor& tokens, const CountedLabels& labels, const ModelPattern& pattern,
                     Recompute recompute) const {
  return embedding.head_loss(hidden(tokens, pattern, recompute, IdCheck::by_caller), labels);
}

}  // namespace ratel
