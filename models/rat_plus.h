#pragma once

#include <ostream>
#include <span>
#include <string_view>
#include <vector>

#include "nn/layers.h"
#include "ops/pattern.h"

namespace ratel {

/// Sizes of a model; see rat_plus_preset.
struct RatPlusConfig {
  int64_t vocab_size = 257;
  int64_t layers = 4;
  int64_t channels = 128;
  int64_t heads = 2;
  Recurrence recurrence = Recurrence::gated;  ///< none: the attention-only baseline
  double norm_eps = 1e-6;
  double rope_base = 10000.0;

  /// Throws Error naming the first field that cannot work (heads must divide channels into even widths, ...). Sizes are
  /// bounded so that parameter_count() fits in 64 bits: 2^31 words, 2^20 channels, 10^4 layers.
  void validate() const;
  [[nodiscard]] int64_t parameter_count() const;
  friend bool operator==(const RatPlusConfig&, const RatPlusConfig&) = default;
};

/// "tiny" (4 layers, 128 channels, 2 heads) and "small" (8, 384, 6) have 257 words: bytes and end-of-text. "1b", "3b"
/// and "7b" are the paper's, with 32000. Throws Error naming the presets there are.
RatPlusConfig rat_plus_preset(std::string_view name);

/// The pattern of every layer: one HeadPatterns for all layers, or one a layer.
struct ModelPattern {
  std::vector<HeadPatterns> layers{{Pattern{}}};
  /// The pattern of one layer of `count`. Throws Error where the list fits neither.
  [[nodiscard]] const HeadPatterns& of_layer(int64_t layer, int64_t count) const;
  /// Throws Error naming the layer unless every one of the model's layers has a pattern that fits its heads.
  void check_fits(const RatPlusConfig& config) const;
  static ModelPattern uniform(Pattern pattern) { return {{{pattern}}}; }
  friend bool operator==(const ModelPattern&, const ModelPattern&) = default;
};

/// The same pattern in the fewest words: heads that are alike as one, and layers that are alike as one. Patterns of one
/// model for which these are equal are the same to every query.
ModelPattern simplified(ModelPattern pattern);

/// The pattern of a command line: each list holds one value for all of the model's layers, or one a layer.
/// Throws Error naming the list (dilation, window or initial) and its wrong length or value.
ModelPattern parse_model_pattern(std::span<const int64_t> dilation, std::span<const int64_t> window,
                                 std::span<const int64_t> initial, int64_t layers);

/// "D=16 W=0 S=0"; layers are parted by " | ", heads by ", ".
std::ostream& operator<<(std::ostream& out, const ModelPattern& pattern);

/// Bytes of the KV cache of one sequence of up to T tokens of a model in `dtype`: in every layer and head a key and a
/// value in each of cache_slots(pattern, T) slots, the recurrent state in f32 (f64 of an f64 model), and in the same
/// what top-k blocks keep of a block. Throws Error where the pattern does not fit the model.
int64_t kv_cache_bytes(const RatPlusConfig& config, const ModelPattern& pattern, int64_t T, DType dtype);

/// What backward computes again instead of keeping: with `blocks`, a block's inside costs memory only while its
/// backward runs, for one more forward in all. The gradients are the same bits.
enum class Recompute { nothing, blocks };

/// RAT+: embedding, blocks, final norm, output head tied to the embedding.
struct RatPlus {
  RatPlusConfig config;
  nn::Embedding embedding;
  std::vector<nn::RatPlusBlock> blocks;
  nn::RmsNorm norm;

  /// Parameters below s: embedding.weight, layers.N.{mixer,feed_forward}..., norm.weight.
  /// Throws Error where the configuration is not valid.
  RatPlus(const nn::Scope& s, const RatPlusConfig& config);
  /// Where the parameters are, and tokens and labels are expected.
  [[nodiscard]] Device device() const { return embedding.weight.device(); }
  /// That of the parameters, of activations and logits, and of the keys and values of a cache.
  [[nodiscard]] DType dtype() const { return embedding.weight.dtype(); }
  /// tokens (B, T) of an integer dtype -> the final normed hidden state (B, T, C).
  [[nodiscard]] Tensor hidden(const Tensor& tokens, const ModelPattern& pattern,
                              Recompute recompute = Recompute::nothing, IdCheck ids_are_checked = IdCheck::by_op) const;
  /// tokens (B, T) -> logits (B, T, V).
  Tensor operator()(const Tensor& tokens, const ModelPattern& pattern) const;
  /// Mean cross-entropy in nats over the labels (B, T) that are not kIgnoreIndex; rank 0.
  [[nodiscard]] Tensor loss(const Tensor& tokens, const Tensor& labels, const ModelPattern& pattern,
                            Recompute recompute = Recompute::nothing) const;
  /// The same for a batch that its reader checked on the host: tokens in [0, V), and labels as CountedLabels says. On a
  /// GPU nothing waits, so that it may be part of a graph.
  [[nodiscard]] Tensor loss(const Tensor& tokens, const CountedLabels& labels, const ModelPattern& pattern,
                            Recompute recompute = Recompute::nothing) const;
};

}  // namespace ratel
