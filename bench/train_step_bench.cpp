// One batch of joint training of the preset "tiny" as `ratel train` makes it: two optimizer steps, first through D =
// 64, then dense, each with forward, backward, clipping and AdamW.

#include <memory>
#include <utility>

#include "bench/support/attention_work.h"
#include "ops/create.h"
#include "train/trainer.h"

namespace ratel::bench {
namespace {

/// What a Trainer refers to, kept together.
struct Training {
  train::TrainConfig config;
  nn::ParamStore parameters;
  RatPlus model;
  train::Optimizer optimizer;
  train::Trainer trainer;

  Training(train::TrainConfig c, const train::Batch& batch)
      : config(std::move(c)),
        model(nn::Scope(parameters), config.model),
        optimizer(parameters, config.optimizer),
        trainer(config, model, optimizer, [batch](int64_t, int64_t) { return batch; }) {}
};

/// FLOPs of one batch: every weight that is multiplied with counts 2 a token forward and 4 backward, in both passes.
double flops_of(const train::TrainConfig& config) {
  const auto& m = config.model;
  const int64_t tokens = config.data.batch_size * config.data.seq_len;
  const auto weights = static_cast<double>(m.layers * 14 * m.channels * m.channels + m.vocab_size * m.channels);
  double attention = 0;
  for (const int64_t dilation : {config.train.sparse_dilation, int64_t{1}})
    attention += static_cast<double>(m.layers) * attention_flops({.dilation = dilation},
                                                                 config.data.batch_size * m.heads, config.data.seq_len,
                                                                 m.channels / m.heads, Pass::forward_backward);
  return 2 * 6 * weights * static_cast<double>(tokens) + attention;
}

}  // namespace

void declare() {
  train::TrainConfig config;
  config.train.steps = 1'000'000;
  const int64_t B = config.data.batch_size, T = config.data.seq_len;
  add("train_step/tiny/" + std::to_string(B) + 'x' + std::to_string(T), {.flops = flops_of(config)}, [=] {
    Rng rng(1);
    const train::Batch batch{random_integers({B, T}, rng, 256), random_integers({B, T}, rng, 256), B * T};
    const auto training = std::make_shared<Training>(config, batch);
    return [training] { training->trainer.step(); };
  });
}

}  // namespace ratel::bench
