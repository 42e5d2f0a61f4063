#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/gradient.h"
#include "nn/param_store.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "test/train/tiny_run.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::DType;
using ratel::Tensor;
using train::Joint;
using train::TrainConfig;

namespace {

/// Everything a trainer needs, the weights from one seed.
struct Bench {
  TrainConfig config;
  ratel::nn::ParamStore store;
  ratel::RatPlus model;
  train::Optimizer optimizer;
  train::Trainer trainer;

  Bench(const TrainConfig& c, const train::TrainData& data)
      : config(c),
        store(c.train.dtype, 7),
        model(ratel::nn::Scope(store), c.model),
        optimizer(store, c.optimizer),
        trainer(config, model, optimizer, [&data](int64_t first, int64_t count) { return data.batch(first, count); }) {}
};

train::TrainData tiny_data(const test::TemporaryFolder& folder) {
  test::write_tokens(folder / "data.bin", test::tiny_tokens(300, 1));
  return {ratel::io::TokenFile::open(folder / "data.bin", test::kTinyVocab), 12, 3, test::kTinyEos};
}

struct Fixture {
  test::TemporaryFolder folder;
  train::TrainData data = tiny_data(folder);
};

TrainConfig config_of(Joint joint, int64_t accumulate, DType dtype) {
  TrainConfig config = test::tiny_config();
  config.train.joint = joint;
  config.data.accumulate = accumulate;
  config.train.dtype = dtype;
  return config;
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(a_batch_in_parts_is_the_whole_batch, Fixture) {
  // Labels after an end of text are ignored, differently many in each part: a mean of means would differ.
  for (const Joint joint : {Joint::alternate, Joint::sum, Joint::off}) {
    for (const int64_t parts : {2, 4}) {
      Bench whole(config_of(joint, 1, DType::f64), data), cut(config_of(joint, parts, DType::f64), data);
      for (int step = 0; step < 3; ++step) {
        const auto a = whole.trainer.step(), b = cut.trainer.step();
        BOOST_TEST(std::abs(a.loss - b.loss) <= 1e-12);
        BOOST_TEST(a.sparse_loss.has_value() == (joint != Joint::off));
        if (a.sparse_loss) BOOST_TEST(std::abs(*a.sparse_loss - *b.sparse_loss) <= 1e-12);
        BOOST_TEST(std::abs(a.grad_norm - b.grad_norm) <= 1e-10);
      }
      for (const auto& [name, p] : whole.store.parameters()) test::check_close(cut.store.at(name), p, 1e-9, name);
    }
  }
}

BOOST_FIXTURE_TEST_CASE(sum_adds_the_gradients_of_both_losses, Fixture) {
  Bench sum(config_of(Joint::sum, 1, DType::f64), data), parts(config_of(Joint::sum, 1, DType::f64), data);
  const train::Batch batch = data.batch(0, 4);
  std::vector<Tensor> total;
  double losses[2];
  for (const int pass : {0, 1}) {
    parts.store.zero_grad();
    const auto pattern = pass == 0 ? ratel::ModelPattern::uniform({4, 0, 0}) : ratel::ModelPattern{};
    const Tensor loss = parts.model.loss(batch.tokens, batch.labels, pattern);
    losses[pass] = loss.item();
    ratel::backward(loss);
    for (size_t i = 0; i < parts.store.parameters().size(); ++i) {
      const Tensor g = clone(grad(parts.store.parameters()[i].tensor));
      if (pass == 0)
        total.push_back(g);
      else
        total[i] = total[i] + g;
    }
  }
  const auto report = sum.trainer.step();
  BOOST_TEST(*report.sparse_loss == losses[0]);
  BOOST_TEST(report.loss == losses[1]);
  BOOST_TEST(!report.sparse_grad_norm.has_value());
  BOOST_TEST(sum.optimizer.steps() == 1);
  for (size_t i = 0; i < total.size(); ++i) set_grad(parts.store.parameters()[i].tensor, total[i]);
  parts.optimizer.step(report.learning_rate);
  // The first moments are the gradients but for a factor.
  for (size_t i = 0; i < total.size(); ++i)
    test::check_close(sum.optimizer.state()[i].tensor, parts.optimizer.state()[i].tensor, 1e-13,
                      sum.optimizer.state()[i].name);
}

BOOST_FIXTURE_TEST_CASE(alternate_makes_two_updates_a_batch_and_counts_tokens_once, Fixture) {
  Bench b(config_of(Joint::alternate, 2, DType::f32), data);
  std::vector<double> rates;
  for (int step = 1; step <= 12; ++step) {
    const auto report = b.trainer.step();
    BOOST_TEST(report.step == step);
    BOOST_TEST(report.tokens == step * 4 * 12);
    BOOST_TEST(b.optimizer.steps() == 2 * step);
    BOOST_TEST(b.trainer.progress().samples == 4 * step);
    BOOST_TEST((report.tokens_per_second > 0 && report.seconds > 0));
    rates.push_back(report.learning_rate);
  }
  BOOST_TEST(b.trainer.finished());
  BOOST_TEST(rates[2] == 1e-2);  // three steps of warm-up
  BOOST_TEST(rates[11] < rates[4]);
}

BOOST_FIXTURE_TEST_CASE(times_are_of_the_step_the_run_and_the_session, Fixture) {
  Bench b(config_of(Joint::alternate, 1, DType::f32), data);
  b.trainer.set_progress({.step = 2, .samples = 8, .tokens = 96, .seconds = 1e4});  // of an earlier session
  double before = 1e4;
  for (int64_t step = 3; step <= 6; ++step) {
    const auto report = b.trainer.step();
    BOOST_TEST(std::abs(report.tokens_per_second * (report.seconds - before) / (4 * 12) - 1) < 1e-4);
    const double pace = (report.seconds - 1e4) / static_cast<double>(step - 2);
    BOOST_TEST(std::abs(report.eta_seconds / (pace * static_cast<double>(12 - step)) - 1) < 1e-4);
    before = report.seconds;
  }
}

BOOST_FIXTURE_TEST_CASE(recompute_changes_no_bit, Fixture) {
  for (const int64_t parts : {2, 4}) {  // of 24 tokens, and of 12, for which decoding has kernels of its own
    TrainConfig config = config_of(Joint::alternate, parts, DType::f32);
    Bench plain(config, data);
    config.train.recompute = true;
    Bench again(config, data);
    for (int step = 0; step < 3; ++step) {
      const auto a = plain.trainer.step(), b = again.trainer.step();
      BOOST_TEST(a.loss == b.loss);
      BOOST_TEST(a.grad_norm == b.grad_norm);
    }
    for (const auto& [name, p] : plain.store.parameters()) test::check_identical(again.store.at(name), p, name);
  }
}

BOOST_FIXTURE_TEST_CASE(training_lowers_the_loss, Fixture) {
  TrainConfig config = config_of(Joint::alternate, 1, DType::f32);
  config.train.steps = 60;
  config.optimizer.peak_rate = 3e-2;
  Bench b(config, data);
  const double first = b.trainer.step().loss;
  double last = first;
  while (!b.trainer.finished()) last = b.trainer.step().loss;
  BOOST_TEST(std::abs(first - std::log(17.0)) < 0.1);
  BOOST_TEST(last < first - 0.5);
}

BOOST_FIXTURE_TEST_CASE(updates_that_are_not_finite_are_reported_and_not_applied, Fixture) {
  Bench b(config_of(Joint::alternate, 2, DType::f32), data);
  b.trainer.step();
  auto* weight = b.store.at("layers.1.mixer.out_proj.weight").data<float>();
  const float good = *weight;
  *weight = std::numeric_limits<float>::quiet_NaN();
  const Tensor before = clone(detach(b.store.at("embedding.weight")));
  std::vector<train::SkippedUpdate> skipped;
  const auto keep = [&](const train::SkippedUpdate& s) { skipped.push_back(s); };
  const auto report = b.trainer.step(keep);
  BOOST_TEST(report.skipped == 2);
  BOOST_TEST(std::isnan(report.loss));
  BOOST_REQUIRE(skipped.size() == 2u);
  BOOST_TEST(skipped[0].sparse);
  BOOST_TEST(!skipped[1].sparse);
  BOOST_TEST(skipped[1].step == 2);
  BOOST_TEST(skipped[1].first_sample == 4);
  BOOST_TEST(skipped[1].samples == 4);
  BOOST_TEST(describe(skipped[0]) ==
             "step 2: loss nan, gradient norm nan through the sparse pattern: not applied; samples 4 to 7");
  BOOST_TEST(to_json(report).dump().find("\"loss\":null") != std::string::npos, to_json(report).dump());
  test::check_identical(b.store.at("embedding.weight"), before, "embedding");
  BOOST_TEST(b.optimizer.steps() == 2);
  BOOST_TEST(b.trainer.progress().skipped_in_a_row == 1);

  *weight = good;  // one step that is fine starts the count again
  b.trainer.step(keep);
  BOOST_TEST(b.trainer.progress().skipped_in_a_row == 0);
  BOOST_TEST(b.trainer.progress().skipped_updates == 2);
  *weight = std::numeric_limits<float>::infinity();
  for (int i = 1; i <= 5; ++i) {
    BOOST_TEST(!b.trainer.diverged());
    b.trainer.step(keep);
    BOOST_TEST(skipped.back().steps_in_a_row == i);
  }
  BOOST_TEST(b.trainer.diverged());
}

BOOST_FIXTURE_TEST_CASE(the_pass_that_is_not_finite_is_named, Fixture) {
  // Even tokens have no query and odd ones no key, but all others are huge: who sees itself alone has the score 0, and
  // a score between two tokens overflows.
  for (const bool sparse_fails : {true, false}) {
    TrainConfig config = config_of(Joint::sum, 1, DType::f32);
    config.model.layers = 1;
    config.model.recurrence = ratel::Recurrence::none;
    config.train.dilation = {sparse_fails ? -1 : 1};
    config.train.sparse_dilation = sparse_fails ? 1 : 64;  // longer than a window
    Bench b(config, data);
    const int64_t C = config.model.channels;
    auto* embedding = b.store.at("embedding.weight").data<float>();
    for (int64_t token = 0; token < config.model.vocab_size; ++token) embedding[token * C + token % 2] = 0;
    auto* in_proj = b.store.at("layers.0.mixer.in_proj.weight").data<float>();  // rows o, q, k, v
    std::fill_n(in_proj + C * C, 2 * C * C, 0.0f);
    in_proj[C * C] = in_proj[2 * C * C + 1] = 1e22f;
    std::vector<train::SkippedUpdate> skipped;
    const auto report = b.trainer.step([&](const train::SkippedUpdate& s) { skipped.push_back(s); });
    BOOST_TEST(std::isfinite(report.loss) == sparse_fails);
    BOOST_TEST(std::isfinite(*report.sparse_loss) != sparse_fails);
    BOOST_REQUIRE(skipped.size() == 1u);
    BOOST_TEST(skipped[0].sparse == sparse_fails);
    BOOST_TEST(!std::isfinite(skipped[0].loss));
    BOOST_TEST(!b.optimizer.steps());
  }
}
