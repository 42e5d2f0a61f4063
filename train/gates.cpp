#include "train/gates.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "models/generate.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "ops/unary.h"
#include "ops/view.h"

namespace ratel::train {
namespace {

/// Sums over what was seen, a number for each channel.
struct Sums {
  std::vector<double> gate, closed, kept;  // of g, of 1 - g, of the product of g over a window
};

void add_to(std::vector<double>& sums, const Tensor& of_batch) {
  const auto values = to_vector<double>(of_batch);
  sums.resize(values.size());
  std::ranges::transform(sums, values, sums.begin(), std::plus<>());
}

/// x (B, T, C), what enters the layer. In f32 at least, where a gate of nearly 1 has a logarithm.
void look_at_gates(const nn::RatPlusMixer& mixer, const Tensor& x, int64_t span, Sums& sums) {
  const NoGrad no_grad;
  const int64_t B = x.dim(0), T = x.dim(1), C = x.dim(2);
  const int64_t first = C * static_cast<int64_t>(ProjectionPart::gate);
  const Tensor projected = contiguous(slice(mixer.project(x).y, 2, first, first + C));
  const Tensor z = to(projected, accumulate_dtype(projected.dtype())), gate = sigmoid(z);  // (B, T, C)
  const int64_t windows = T / span;
  const Tensor inside = reshape(contiguous(slice(log(gate), 1, 0, windows * span)), {B, windows, span, C});
  add_to(sums.gate, sum(gate, {0, 1}));
  add_to(sums.closed, sum(sigmoid(-z), {0, 1}));
  add_to(sums.kept, sum(exp(sum(inside, {2})), {0, 1}));
}

std::vector<double> divided(std::vector<double> sums, int64_t count) {
  for (double& value : sums) value /= static_cast<double>(count);
  return sums;
}

std::vector<Tensor> weights_of(const nn::RatPlusBlock& block) {
  return {block.mixer.norm.weight,        block.mixer.in_proj.weight,    block.mixer.out_proj.weight,
          block.feed_forward.norm.weight, block.feed_forward.fc1.weight, block.feed_forward.fc2.weight};
}

void forget_gradients(const RatPlus& model) {
  zero_grad(model.embedding.weight);
  zero_grad(model.norm.weight);
  for (const nn::RatPlusBlock& block : model.blocks)
    for (const Tensor& weight : weights_of(block)) zero_grad(weight);
}

LayerGates::Gradient gradient_of(const nn::RatPlusBlock& block) {
  std::vector<Tensor> gradients;
  for (const Tensor& weight : weights_of(block)) gradients.push_back(grad(weight));
  const Tensor in_proj = grad(block.mixer.in_proj.weight);
  if (!in_proj.defined()) return {};
  const int64_t C = in_proj.dim(1), first = C * static_cast<int64_t>(ProjectionPart::gate);
  return {global_norm({slice(in_proj, 0, first, first + C)}), global_norm(gradients)};
}

LayerGates statistics_of(const Sums& sums, int64_t tokens, int64_t windows, size_t layer) {
  LayerGates result;
  result.gate = divided(sums.gate, tokens);
  result.kept = divided(sums.kept, windows);
  result.time_constant = divided(sums.closed, tokens);
  for (double& value : result.time_constant) {
    if (!std::isfinite(value)) throw Error(concat_text("gates: layer ", layer, " is not finite"), ErrorKind::numerical);
    value = 1 / std::max(value, 1 / kLongestTimeConstant);
  }
  return result;
}

int64_t total_of(std::span<const Batch> batches, int64_t Batch::*member) {
  return std::transform_reduce(batches.begin(), batches.end(), int64_t{0}, std::plus<>(),
                               [member](const Batch& batch) { return batch.*member; });
}

void check_arguments(const RatPlus& model, std::span<const Batch> batches, const GateOptions& options) {
  check(model.config.recurrence == Recurrence::gated, "gates: the model is attention only: it has no recurrence");
  check(options.span >= 1, "gates: expected a span of at least 1, found ", options.span);
  check(!batches.empty(), "gates: expected tokens, found none");
  options.pattern.check_fits(model.config);
  for (const Batch& batch : batches) {
    check(batch.tokens.dim(1) == batches.front().tokens.dim(1), "gates: expected windows of one length, found ",
          batch.tokens.dim(1), " beside ", batches.front().tokens.dim(1), " tokens");
    check(batch.tokens.dim(1) >= options.span, "gates: expected windows of at least ", options.span,
          " tokens, which a channel is to carry, found ", batch.tokens.dim(1));
  }
  check(total_of(batches, &Batch::counted) > 0, "gates: expected a label that counts, found none");
}

}  // namespace

int64_t carrying_channels(const LayerGates& layer) {
  return std::ranges::count_if(layer.kept, [](double kept) { return kept >= kCarried; });
}

Gates measure_gates(const RatPlus& model, std::span<const Batch> batches, const GateOptions& options) {
  check_arguments(model, batches, options);
  const bool has_gradient = std::ranges::none_of(options.pattern.layers, selects_blocks);
  const int64_t T = batches.front().tokens.dim(1), counted = total_of(batches, &Batch::counted);
  int64_t total = 0, sequences = 0;
  for (const Batch& batch : batches) total += batch.tokens.numel();

  Gates result;
  std::vector<Sums> sums(model.blocks.size());
  forget_gradients(model);
  for (const Batch& host : batches) {
    if (options.stop && options.stop()) {
      result.complete = false;
      break;
    }
    const Batch batch = moved_to(host, model.device());
    const GradMode mode(has_gradient);
    Tensor x = model.embedding(batch.tokens);  // (B, T, C)
    for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
      look_at_gates(model.blocks[layer].mixer, x, options.span, sums[layer]);
      x = model.blocks[layer](x, options.pattern.of_layer(static_cast<int64_t>(layer), model.config.layers));
    }
    if (batch.counted > 0) {
      const Tensor loss = model.embedding.head_loss(model.norm(x), batch.labels);
      const double share = static_cast<double>(batch.counted) / static_cast<double>(counted);
      result.loss += share * loss.item();
      if (has_gradient) backward(loss, full({}, share, loss.dtype(), loss.device()));
    }
    sequences += batch.tokens.dim(0);
    result.tokens = sequences * T;
    if (options.progress) options.progress(result.tokens, total);
  }
  if (result.complete)
    for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
      result.layers.push_back(statistics_of(sums[layer], result.tokens, sequences * (T / options.span), layer));
      if (has_gradient) result.layers.back().gradient = gradient_of(model.blocks[layer]);
    }
  forget_gradients(model);
  return result;
}

std::vector<Batch> sampled_batches(const RatPlus& model, const SampleOptions& options) {
  const int64_t T = options.seq_len;
  check(T >= 1 && options.windows >= 1 && options.batch_size >= 1,
        "sampled_batches: expected seq_len, windows and batch_size of at least 1, found ", T, ", ", options.windows,
        " and ", options.batch_size);
  check(options.eos >= 0 && options.eos < model.config.vocab_size, "sampled_batches: expected an end-of-text below ",
        model.config.vocab_size, ", found ", options.eos);
  GenerationOptions how;
  how.max_new_tokens = T;
  how.sampling.temperature = 1;
  how.sampling.seed = options.seed;
  how.stop = options.stop;
  int64_t done = 0;
  const auto on_token = [&](const NewToken&) {
    if (options.progress) options.progress(++done, options.windows * T);
    return options.stop && options.stop() ? Next::stop_all : Next::go_on;
  };
  std::vector<Batch> batches;
  for (int64_t first = 0; first < options.windows; first += options.batch_size) {
    how.first_sample = first;
    how.samples = std::min(options.batch_size, options.windows - first);
    std::vector<std::vector<int64_t>> texts;
    for (const Continuation& each : generate(model, {{options.eos}}, options.pattern, how, on_token).sequences) {
      auto& text = texts.emplace_back(1, options.eos);
      text.insert(text.end(), each.tokens.begin(), each.tokens.end());
      text.resize(static_cast<size_t>(T) + 1, options.eos);  // of one that was stopped
    }
    batches.push_back(batch_of(texts, options.eos));
    if (options.stop && options.stop()) break;
  }
  return batches;
}

double quantile(std::vector<double> values, double q) {
  check(!values.empty() && q >= 0 && q <= 1, "quantile: expected values and a part in [0, 1], found ", values.size(),
        " and ", q);
  std::ranges::sort(values);
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const double above = values[std::min(below + 1, values.size() - 1)];
  return std::lerp(values[below], above, place - std::floor(place));
}

}  // namespace ratel::train
