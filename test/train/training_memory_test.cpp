// What training is said to need of memory, against what a step of it took.

#include "train/training_memory.h"

#include <boost/test/unit_test.hpp>
#include <utility>

#include "core/device_memory.h"
#include "core/free_memory.h"
#include "ops/create.h"
#include "ops/threads.h"
#include "test/train/tiny_run.h"
#include "train/trainer.h"
#include "train/weights.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::DType;
using ratel::kMostBytes;
using ratel::Recompute;

namespace {

/// Most that a step held: parameters, batch and all.
int64_t peak_of_a_step(const train::TrainConfig& config) {
  const auto& data = config.data;
  ratel::Rng rng(1);
  const int64_t before = memory_use(ratel::kCpu).live;
  const auto ids = [&] { return random_integers({data.batch_size, data.seq_len}, rng, config.model.vocab_size - 1); };
  const train::Batch batch{ids(), ids(), data.batch_size * data.seq_len};
  train::Weights weights(config);
  const ratel::RatPlus model(ratel::nn::Scope(weights.computed()), config.model);
  train::Optimizer optimizer(weights.masters(), weights.computed(), config.optimizer);
  train::Trainer trainer(config, model, optimizer, [&](int64_t, int64_t) { return batch; });
  reset_peak_memory(ratel::kCpu);
  trainer.step();
  return memory_use(ratel::kCpu).peak - before;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_step_takes_what_was_said_and_not_much_more) {
  ratel::set_num_threads(1);  // each has working memory of its own
  train::TrainConfig config = test::tiny_config();
  config.train.joint = train::Joint::off;
  config.model.layers = 4;
  config.model.channels = 64;
  config.data.seq_len = 128;
  for (const int64_t sequences : {2, 8})  // mostly parameters, mostly activations
    for (const int64_t parts : {1, 2})
      for (const DType dtype : {DType::f32, DType::bf16})
        for (const Recompute recompute : {Recompute::nothing, Recompute::blocks}) {
          config.data.batch_size = sequences;
          config.data.accumulate = parts;
          config.train.dtype = dtype;
          config.train.recompute = recompute == Recompute::blocks;
          const int64_t said =
              train::step_bytes(config.model, {sequences / parts, config.data.seq_len, parts, recompute}, dtype);
          const int64_t taken = peak_of_a_step(config);
          BOOST_TEST_CONTEXT(dtype << ", " << sequences << " sequences in " << parts << ", recompute "
                                   << config.train.recompute) {
            BOOST_TEST(said <= taken);
            BOOST_TEST(taken <= 2 * said);
          }
        }
  ratel::set_num_threads(0);
}

BOOST_AUTO_TEST_CASE(sizes_beyond_any_memory_do_not_overflow) {
  const ratel::RatPlusConfig largest = ratel::rat_plus_preset("7b");
  const int64_t most = int64_t{1} << 40;
  for (const Recompute recompute : {Recompute::nothing, Recompute::blocks}) {
    const int64_t bytes = train::step_bytes(largest, {most, most, 2, recompute}, DType::f64);
    BOOST_TEST(bytes >= kMostBytes);
    BOOST_TEST(bytes <= 2 * kMostBytes);
  }
  BOOST_TEST(train::parameter_bytes(int64_t{1} << 62, DType::bf16) == kMostBytes);
}
