#include "nn/layers.h"

#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/reduce.h"
#include "ops/unary.h"

namespace ratel::nn {
namespace {

/// What follows a product with a bias.
Tensor after_bias(Tensor y, const Tensor& bias, const LinearFusion& fusion) {
  y = y + bias;
  if (fusion.activation == Activation::gelu) y = gelu(y);
  if (!fusion.residual.defined()) return y;
  check(fusion.residual.shape() == y.shape(), "Linear: expected a residual of shape ", y.shape(), ", found ",
        fusion.residual.shape());
  return fusion.residual + y;
}

LinearFusion norm_of(const LinearFusion& fusion) {
  return {.norm_weight = fusion.norm_weight, .norm_eps = fusion.norm_eps};
}

}  // namespace

Linear::Linear(const Scope& s, int64_t in, int64_t out, const LinearOptions& options)
    : weight(s.param("weight", {out, in}, options.init)),
      bias(options.bias == Bias::yes ? s.param("bias", {out}, constant(0)) : Tensor()) {}

Tensor Linear::operator()(const Tensor& x, const LinearFusion& fusion) const {
  if (!bias.defined()) return fused_linear(x, weight, fusion);
  return after_bias(fused_linear(x, weight, norm_of(fusion)), bias, fusion);
}

BranchStart Linear::branch(const Tensor& x, const LinearFusion& fusion) const {
  if (!bias.defined()) return fused_linear_branch(x, weight, fusion);
  const auto [y, residual] = fused_linear_branch(x, weight, norm_of(fusion));
  return {after_bias(y, bias, fusion), residual};
}

Tensor LayerNorm::operator()(const Tensor& x) const {
  const DType wide = accumulate_dtype(x.dtype());  // a mean that is large beside the deviations would swallow them
  const Tensor in = to(x, wide), centred = in - mean(in, {-1}, KeepDims::yes);
  return to(rms_norm(centred, to(weight, wide), eps) + to(bias, wide), x.dtype());
}

FeedForward::FeedForward(const Scope& s, int64_t channels, double norm_eps)
    : norm(s / "norm", channels, norm_eps),
      fc1(s / "fc1", channels, 4 * channels),
      fc2(s / "fc2", 4 * channels, channels) {}

Tensor FeedForward::operator()(const Tensor& x) const {
  const auto [hidden, residual] =
      fc1.branch(x, {.norm_weight = norm.weight, .norm_eps = norm.eps, .activation = Activation::gelu});
  return fc2(hidden, {.residual = residual});
}

RatPlusMixer::RatPlusMixer(const Scope& s, const RatPlusLayerConfig& config)
    : norm(s / "norm", config.channels, config.norm_eps),
      in_proj(s / "in_proj", config.channels, (config.recurrence == Recurrence::gated ? 5 : 4) * config.channels),
      out_proj(s / "out_proj", config.channels, config.channels),
      heads(config.heads),
      recurrence(config.recurrence),
      rope_base(config.rope_base) {
  check(heads >= 1 && config.channels % heads == 0, "RatPlusMixer: expected heads that divide ", config.channels,
        " channels, found ", heads);
}

BranchStart RatPlusMixer::project(const Tensor& x) const {
  return in_proj.branch(x, {.norm_weight = norm.weight, .norm_eps = norm.eps});
}

Tensor RatPlusMixer::operator()(const Tensor& x, const HeadPatterns& patterns) const {
  const auto [projected, residual] = project(x);
  return out_proj(recurrent_attention(projected, heads, patterns, recurrence, rope_base), {.residual = residual});
}

Tensor RatPlusMixer::operator()(const Tensor& x, AttentionCache& cache, const CachePositions& at) const {
  const auto [projected, residual] = project(x);
  return out_proj(cached_attention(projected, cache, at, rope_base), {.residual = residual});
}

RatPlusBlock::RatPlusBlock(const Scope& s, const RatPlusLayerConfig& config)
    : mixer(s / "mixer", config), feed_forward(s / "feed_forward", config.channels, config.norm_eps) {}

Tensor RatPlusBlock::operator()(const Tensor& x, const HeadPatterns& patterns) const {
  return feed_forward(mixer(x, patterns));
}

Tensor RatPlusBlock::operator()(const Tensor& x, AttentionCache& cache, const CachePositions& at) const {
  return feed_forward(mixer(x, cache, at));
}

}  // namespace ratel::nn
