#pragma once

#include "nn/param_store.h"
#include "ops/cached_attention.h"
#include "ops/embedding.h"
#include "ops/fused_linear.h"
#include "ops/head_loss.h"
#include "ops/recurrent_attention.h"
#include "ops/rms_norm.h"

namespace ratel::nn {

/// Layers are plain structs: handles on parameters and a call operator. Copying one shares its parameters.

inline constexpr double kInitStd = 0.02;  // RAT+: weights start as N(0, 0.02)

enum class Bias { no, yes };
/// What a Linear has beside its weight, and how that starts; RAT+'s have no bias.
struct LinearOptions {
  Bias bias = Bias::no;  ///< starts as 0
  Init init = normal(kInitStd);
};
/// y = x W^T, + b where there is a bias:  x (..., in) -> (..., out),  W (out, in),  b (out); with norm, activation and
/// residual where they are given: ops/fused_linear.h. The activation comes after the bias.
struct Linear {
  Tensor weight, bias;
  Linear(const Scope& s, int64_t in, int64_t out, const LinearOptions& options = {});
  Tensor operator()(const Tensor& x, const LinearFusion& fusion = {}) const;
  /// The same after a norm, and x for the residual at the branch's end.
  [[nodiscard]] BranchStart branch(const Tensor& x, const LinearFusion& fusion) const;
};

/// ids (...) -> (..., C),  W (V, C); as_head gives the logits of the output head tied to it: (..., C) -> (..., V).
struct Embedding {
  Tensor weight;
  Embedding(const Scope& s, int64_t vocab_size, int64_t channels)
      : weight(s.param("weight", {vocab_size, channels}, normal(kInitStd))) {}
  Tensor operator()(const Tensor& ids, IdCheck ids_are_checked = IdCheck::by_op) const {
    return embedding(weight, ids, ids_are_checked);
  }
  [[nodiscard]] Tensor as_head(const Tensor& x) const { return fused_linear(x, weight); }
  /// Mean cross-entropy of those logits: ops/head_loss.h.
  [[nodiscard]] Tensor head_loss(const Tensor& x, const Tensor& labels) const {
    return ratel::head_loss(x, weight, labels);
  }
  [[nodiscard]] Tensor head_loss(const Tensor& x, const CountedLabels& labels) const {
    return ratel::head_loss(x, weight, labels);
  }
};

/// (..., C) -> (..., C); the weight starts as 1.
struct RmsNorm {
  Tensor weight;
  double eps;
  RmsNorm(const Scope& s, int64_t channels, double epsilon = 1e-6)
      : weight(s.param("weight", {channels}, constant(1))), eps(epsilon) {}
  Tensor operator()(const Tensor& x) const { return rms_norm(x, weight, eps); }
};

/// (..., C) -> (..., C): (x - mean) / sqrt(variance + eps) weight + bias over the last axis; they start as 1 and 0.
/// bf16 computes in f32 and rounds once. Throws Error as rms_norm does. Source: Ba, Kiros and Hinton, "Layer
/// normalization", arXiv 1607.06450.
struct LayerNorm {
  Tensor weight, bias;
  double eps;
  LayerNorm(const Scope& s, int64_t channels, double epsilon = 1e-5)
      : weight(s.param("weight", {channels}, constant(1))),
        bias(s.param("bias", {channels}, constant(0))),
        eps(epsilon) {}
  Tensor operator()(const Tensor& x) const;
};

/// The sizes and constants of one RAT+ layer.
struct RatPlusLayerConfig {
  int64_t channels;
  int64_t heads;
  Recurrence recurrence = Recurrence::gated;
  double norm_eps = 1e-6;
  double rope_base = 10000.0;
};

/// x + gelu(norm(x) W_1) W_2:  (..., C) -> (..., C), hidden width 4C, no bias.
struct FeedForward {
  RmsNorm norm;
  Linear fc1, fc2;
  FeedForward(const Scope& s, int64_t channels, double norm_eps = 1e-6);
  Tensor operator()(const Tensor& x) const;
};

/// x + out_proj(recurrent_attention(in_proj(norm(x)))):  (B, T, C) -> (B, T, C).
/// Source: RAT+, arXiv 2602.18196, section 3.
struct RatPlusMixer {
  RmsNorm norm;
  Linear in_proj, out_proj;
  int64_t heads;
  Recurrence recurrence;
  double rope_base;
  RatPlusMixer(const Scope& s, const RatPlusLayerConfig& config);
  [[nodiscard]] BranchStart project(const Tensor& x) const;  ///< in_proj(norm(x)): (B, T, 5C), or 4C; and x
  Tensor operator()(const Tensor& x, const HeadPatterns& patterns) const;
  /// The same for new tokens that follow those in a cache: ops/cached_attention.h.
  Tensor operator()(const Tensor& x, AttentionCache& cache, const CachePositions& at) const;
};

/// Mixer, then feed-forward:  (B, T, C) -> (B, T, C).
struct RatPlusBlock {
  RatPlusMixer mixer;
  FeedForward feed_forward;
  RatPlusBlock(const Scope& s, const RatPlusLayerConfig& config);
  Tensor operator()(const Tensor& x, const HeadPatterns& patterns) const;
  Tensor operator()(const Tensor& x, AttentionCache& cache, const CachePositions& at) const;
};

}  // namespace ratel::nn
