// One batch of joint training as `ratel train` makes it: two optimizer steps, first through D = 64, then dense, each
// with forward, backward, clipping and AdamW, and the next batch read meanwhile. On the CPU the preset "tiny"; on a GPU
// "1b" in bf16, as the graph that the trainer records; kernel by kernel ("launched"); the dense step alone ("dense", of
// a run without joint training), and with train.autotune ("autotuned"); and with norms, GELU and gates computed again
// backward ("recompute"). Tokens are those of the batch, once, however many steps it is for. Larger batches show how
// many sequences fit: one that does not is a row that says so.

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "bench/support/bench.h"
#include "cli/gpu.h"
#include "ops/create.h"
#include "ops/matmul.h"
#include "train/flops.h"
#include "train/trainer.h"
#include "train/weights.h"

namespace ratel::bench {
namespace {

/// What a Trainer refers to, kept together.
struct Training {
  train::TrainConfig config;
  cuda::GemmChoiceGuard gemms;
  train::Weights weights;
  RatPlus model;
  train::Optimizer optimizer;
  train::Trainer trainer;

  Training(train::TrainConfig c, const train::Batch& batch)
      : config(std::move(c)),
        gemms(config.train.autotune ? cuda::GemmChoice::timed : cuda::GemmChoice::heuristic),
        weights(config),
        model(weights.computed(), config.model),
        optimizer(weights.masters(), weights.computed(), config.optimizer),
        trainer(config, model, optimizer, [batch](int64_t, int64_t) { return batch; }) {}
};

/// The dilations of a batch's optimizer steps.
std::vector<int64_t> dilations_of(const train::TrainConfig& config) {
  if (config.train.joint == train::Joint::off) return {1};
  return {config.train.sparse_dilation, 1};
}

/// FLOPs of one batch, as `ratel train` counts them for MFU.
double flops_of(const train::TrainConfig& config) {
  double flops = 0;
  for (const int64_t dilation : dilations_of(config))
    flops += train::training_flops(config.model, ModelPattern::uniform({.dilation = dilation}), config.data.seq_len);
  return static_cast<double>(config.data.batch_size) * flops;
}

void add_step(const std::string& name, const train::TrainConfig& config) {
  const int64_t B = config.data.batch_size, T = config.data.seq_len;
  const Work work{.flops = flops_of(config),
                  .tokens = static_cast<double>(B * T),
                  .peak_flops = cli::peak_flops(config.device(), config.train.dtype).value_or(0)};
  add(name + '/' + config.preset + '/' + std::to_string(B) + 'x' + std::to_string(T), work, [=] {
    Rng rng(1);
    const int64_t ids = config.model.vocab_size - 1;
    const train::Batch batch{random_integers({B, T}, rng, ids), random_integers({B, T}, rng, ids), B * T};
    const auto training = std::make_shared<Training>(config, batch);
    return [training] { training->trainer.step(); };
  });
}

}  // namespace

void declare() {
  train::TrainConfig config;
  config.train.steps = 1'000'000;
  if (!on_gpu()) return add_step("train_step", config);
  config.preset = "1b";
  config.model = rat_plus_preset(config.preset);
  config.data.seq_len = 4096;
  config.train.dtype = dtype();
  config.train.device = concat_text(device());
  const auto add_sizes = [&](const std::string& name, const train::TrainConfig& base,
                             std::initializer_list<int64_t> batch_sizes) {
    for (const int64_t batch_size : batch_sizes) {
      train::TrainConfig sized = base;
      sized.data.batch_size = batch_size;
      add_step(name, sized);
    }
  };
  train::TrainConfig dense = config, launched = config, frugal = config;
  dense.train.joint = train::Joint::off;
  train::TrainConfig autotuned = dense;
  autotuned.train.autotune = true;
  launched.train.graph = false;
  frugal.train.recompute = true;
  add_sizes("train_step", config, {4});
  add_sizes("train_step_dense", dense, {4});
  add_sizes("train_step_dense_autotuned", autotuned, {4});
  add_sizes("train_step_launched", launched, {4});
  add_sizes("train_step", config, {7, 8});
  add_sizes("train_step_recompute", frugal, {12, 16});
}

}  // namespace ratel::bench
