#include "cli/bench_runs.h"

#include <algorithm>
#include <vector>

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "core/clock.h"
#include "core/device_memory.h"
#include "core/free_memory.h"
#include "models/decoder.h"
#include "ops/backward.h"
#include "ops/create.h"
#include "train/trainer.h"
#include "train/training_memory.h"
#include "train/weights.h"

namespace ratel::cli {
namespace {

constexpr size_t kLeastRuns = 3, kMostRuns = 1000;

template <class F>
double seconds_of(Device device, F&& run) {
  synchronize(device);
  const auto begin = Clock::now();
  run();
  synchronize(device);
  return seconds_since(begin);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

bool stops(const BenchSetting& setting) { return setting.stop && setting.stop(); }

/// Runs `run` again and again; `seconds` of each. What the first run does for the first time (memory, caches) is not
/// measured, nor one that a signal may have cut. Fewer than kLeastRuns where it was stopped.
template <class F>
std::vector<double> measure(const BenchSetting& setting, F&& run) {
  std::vector<double> seconds;
  seconds_of(setting.device, run);
  const auto begin = Clock::now();
  while (seconds.size() < kMostRuns && !stops(setting) &&
         (seconds.size() < kLeastRuns || seconds_since(begin) < setting.seconds))
    if (const double one = seconds_of(setting.device, run); !stops(setting)) seconds.push_back(one);
  return seconds;
}

std::vector<int64_t> random_tokens(int64_t count, int64_t vocab_size) {
  Rng rng(1);
  return to_vector<int64_t>(random_integers({count}, rng, vocab_size));
}

std::optional<BenchResult> result_of(const std::vector<double>& seconds, int64_t tokens, Device device) {
  if (seconds.size() < kLeastRuns) return {};
  BenchResult result;
  result.seconds = median(seconds);
  result.tokens = tokens;
  result.runs = static_cast<int64_t>(seconds.size());
  result.peak_bytes = memory_use(device).peak;
  return result;
}

constexpr std::pair<Bench, std::string_view> kBenches[] = {
    {Bench::prefill, "prefill"}, {Bench::decode, "decode"}, {Bench::train, "train"}, {Bench::layer, "layer"}};

/// Tokens that decoding is measured on.
int64_t decoded_tokens(int64_t length) { return std::min(std::clamp<int64_t>(length / 16, 16, 1024), length / 2); }

}  // namespace

EnumNames<Bench> names_of(Bench) { return kBenches; }

int64_t least_bytes(Bench what, const BenchSetting& setting, const BenchPoint& point) {
  const RatPlusConfig& c = setting.config;
  const auto element = static_cast<int64_t>(size_of(setting.dtype));
  const auto wide = static_cast<int64_t>(size_of(accumulate_dtype(setting.dtype)));
  const auto cache = [&] {
    return bounded_product({point.batch, kv_cache_bytes(c, point.pattern, point.length, setting.dtype)});
  };
  const auto tokens_of = [&](int64_t length, int64_t widths) {
    return bounded_product({point.batch, length, widths, c.channels, element});
  };
  const int64_t weights = bounded_product({c.parameter_count(), element});
  switch (what) {
    case Bench::prefill:  // input, norm, and the feed-forward's hidden layer before and after GELU
      return weights + cache() + tokens_of(std::min(point.length, setting.chunk), 10);
    case Bench::decode: return weights + cache();
    case Bench::train: return train::step_bytes(c, {.sequences = point.batch, .T = point.length}, setting.dtype);
    case Bench::layer:  // input, norm, projection, mixed, output, and the gradient of the projection
      return bounded_product({6, c.channels, c.channels, element + wide}) + tokens_of(point.length, 14);
  }
  return 0;
}

std::optional<BenchResult> bench_prefill(const RatPlus& model, const BenchSetting& setting, const BenchPoint& point) {
  KvCache cache(model, point.pattern, point.batch, point.length);
  const std::vector<std::vector<int64_t>> prompts(static_cast<size_t>(point.batch),
                                                  random_tokens(point.length, model.config.vocab_size));
  reset_peak_memory(setting.device);
  const auto seconds = measure(setting, [&] {
    cache.reset();
    prefill(model, cache, prompts, setting.chunk, setting.stop);
  });
  return result_of(seconds, point.batch * point.length, setting.device);
}

std::optional<BenchResult> bench_decode(const RatPlus& model, const BenchSetting& setting, const BenchPoint& point) {
  check(point.length >= kLeastDecodeLength, "bench decode: expected a length of at least ", kLeastDecodeLength,
        ", found ", point.length);
  const int64_t steps = decoded_tokens(point.length);
  const auto filled = [&] {
    KvCache first(model, point.pattern, 1, point.length);
    prefill(model, first, {random_tokens(point.length - steps, model.config.vocab_size)}, setting.chunk, setting.stop);
    return point.batch == 1 ? std::move(first) : first.fork(std::vector<int64_t>(static_cast<size_t>(point.batch), 0));
  };
  KvCache cache = filled();
  Decoder decoder(model, cache);
  const std::vector<int64_t> tokens(static_cast<size_t>(point.batch), 1);
  reset_peak_memory(setting.device);
  std::vector<double> seconds;
  const auto begin = Clock::now();
  for (int64_t step = 0; step < steps && !stops(setting); ++step) {
    if (seconds.size() >= kLeastRuns && seconds_since(begin) >= setting.seconds) break;
    const double one = seconds_of(setting.device, [&] { decoder(tokens); });
    if (step > 0) seconds.push_back(one);  // the first warms up, and records the graph
  }
  return result_of(seconds, point.batch, setting.device);
}

std::optional<BenchResult> bench_train(const BenchSetting& setting, const BenchPoint& point) {
  const auto& layers = point.pattern.layers;
  check(layers.size() == 1 && layers[0].size() == 1 && layers[0][0].window == 0 && layers[0][0].initial == 0 &&
            layers[0][0].top_blocks == 0,
        "bench train: expected a dilation alone, found ", point.pattern);
  const int64_t dilation = layers[0][0].dilation;
  train::TrainConfig config;
  config.model = setting.config;
  config.data.batch_size = point.batch;
  config.data.seq_len = point.length;
  config.train.steps = int64_t{1} << 40;
  config.train.dtype = setting.dtype;
  config.train.joint = dilation == 1 ? train::Joint::off : train::Joint::alternate;
  config.train.sparse_dilation = dilation;
  config.train.device = concat_text(setting.device);
  train::Weights weights(config);
  const RatPlus model(weights.computed(), setting.config);
  train::Optimizer optimizer(weights.masters(), weights.computed(), config.optimizer);
  Rng rng(1);
  const int64_t V = setting.config.vocab_size;
  train::Batch batch{random_integers({point.batch, point.length}, rng, V),
                     random_integers({point.batch, point.length}, rng, V), point.batch * point.length};
  train::Trainer trainer(config, model, optimizer, [&batch](int64_t, int64_t) { return batch; });
  reset_peak_memory(setting.device);
  return result_of(measure(setting, [&] { trainer.step(); }), point.batch * point.length, setting.device);
}

std::optional<BenchResult> bench_layer(const nn::RatPlusMixer& mixer, const BenchSetting& setting,
                                       const BenchPoint& point) {
  Rng rng(1);
  const Shape shape{point.batch, point.length, setting.config.channels};
  const Tensor x = requires_grad(random_normal(shape, rng, 0, 1, setting.dtype, setting.device));
  const Tensor cotangent = random_normal(shape, rng, 0, 1, setting.dtype, setting.device);
  const HeadPatterns& patterns = point.pattern.of_layer(0, setting.config.layers);
  reset_peak_memory(setting.device);
  const auto forward = measure(setting, [&] {
    const NoGrad no_grad;
    mixer(x, patterns);
  });
  if (forward.size() < kLeastRuns) return {};
  const auto both = measure(setting, [&] {
    for (const Tensor& leaf : {x, mixer.norm.weight, mixer.in_proj.weight, mixer.out_proj.weight}) zero_grad(leaf);
    backward(mixer(x, patterns), cotangent);
  });
  if (both.size() < kLeastRuns) return {};
  auto result = result_of(forward, point.batch * point.length, setting.device);
  if (result) result->backward = median(both);
  return result;
}

}  // namespace ratel::cli
