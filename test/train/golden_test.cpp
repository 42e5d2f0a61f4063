// The two 20-step training runs of the reference program, by Trainer, Optimizer and schedule.
#include <cmath>

#include "autograd/gradient.h"
#include "models/names.h"
#include "nn/param_store.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/cross_entropy.h"
#include "ops/reduce.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/golden.h"
#include "test/support/reference_model.h"
#include "train/schedule.h"
#include "train/trainer.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::DType;
using ratel::Tensor;
using test::Golden;
using train::TrainConfig;

namespace {

TrainConfig config_of(const Golden& golden, DType dtype) {
  TrainConfig c;
  c.model = {.vocab_size = 50,
             .layers = golden.about("layers").as_int(),
             .channels = 16,
             .heads = golden.about("heads").as_int()};
  c.data = {.seq_len = 48, .batch_size = 4, .tokenizer = ratel::Tokenizer::none, .eos = -1};
  c.optimizer.peak_rate = golden.about("peak").as_double();
  c.optimizer.final_rate = golden.about("floor").as_double();
  c.optimizer.clip = golden.about("clip").as_double();
  c.train.steps = 20;
  c.train.dtype = dtype;
  if (golden.about("joint").as_bool()) {
    c.train.sparse_dilation = golden.about("sparse").as_int();
  } else {
    const ratel::io::Json pattern = golden.about("pattern");
    c.train.joint = train::Joint::off;
    c.optimizer.warmup_fraction = 0;
    c.train.dilation = {pattern.as_array()[0].as_int()};
    c.train.window = {pattern.as_array()[1].as_int()};
    c.train.initial = {pattern.as_array()[2].as_int()};
  }
  return c;
}

std::vector<ratel::nn::NamedTensor> weights_of(const Golden& golden, const std::string& prefix) {
  std::vector<ratel::nn::NamedTensor> weights;
  for (const std::string& name : golden.names(prefix))
    weights.push_back({*ratel::path_of_authors_name(name), golden[prefix + name]});
  return weights;
}

train::BatchSource batches_of(const Golden& golden) {
  return [stream = golden["stream"]](int64_t first, int64_t count) {
    const Tensor step = ratel::reshape(ratel::slice(stream, 0, first / 4, first / 4 + 1), {4, 49});
    const Tensor rows = ratel::slice(step, 0, first % 4, first % 4 + count);
    return train::Batch{ratel::contiguous(ratel::slice(rows, 1, 0, 48)),
                        ratel::contiguous(ratel::slice(rows, 1, 1, 49)), count * 48};
  };
}

/// What a run leaves: losses (20) and the end weights by path.
struct Run {
  std::vector<double> sparse_loss, loss, rate;
  test::Weights end;
};

Run run_trainer(const Golden& golden, DType dtype, int64_t accumulate = 1) {
  TrainConfig config = config_of(golden, dtype);
  config.data.accumulate = accumulate;
  ratel::nn::ParamStore store(dtype);
  const ratel::RatPlus model(ratel::nn::Scope(store), config.model);
  store.load(weights_of(golden, "start."), "golden");
  train::Optimizer optimizer(store, config.optimizer);
  train::Trainer trainer(config, model, optimizer, batches_of(golden));
  Run run;
  while (!trainer.finished()) {
    const auto report = trainer.step();
    run.sparse_loss.push_back(report.sparse_loss.value_or(0));
    run.loss.push_back(report.loss);
    run.rate.push_back(report.learning_rate);
  }
  for (const auto& [name, p] : store.parameters()) run.end[name] = detach(p);
  return run;
}

/// The same from the composed references and AdamW of single elementwise steps, all of them in `dtype`.
Run run_plain(const Golden& golden, DType dtype) {
  const TrainConfig config = config_of(golden, dtype);
  const auto& o = config.optimizer;
  const auto batches = batches_of(golden);
  test::Weights weights, m, v;
  for (const auto& [name, tensor] : weights_of(golden, "start.")) {
    weights[name] = requires_grad(detach(to(tensor, dtype)));
    m[name] = v[name] = zeros(tensor.shape(), dtype);
  }
  std::vector<ratel::ModelPattern> passes{config.pattern()};
  if (config.train.joint == train::Joint::alternate) passes.insert(passes.begin(), config.sparse_pattern());
  Run run;
  int updates = 0;
  for (int64_t step = 0; step < config.train.steps; ++step) {
    const double rate = train::learning_rate(step, 20, o.peak_rate, o.warmup_fraction, o.final_rate);
    const train::Batch batch = batches(step * 4, 4);
    std::vector<double> losses;
    for (const auto& pass : passes) {
      const std::vector<ratel::HeadPatterns> layers(2, pass.layers[0]);
      const Tensor loss = cross_entropy_reference(
          test::reference_logits(batch.tokens, weights, config.model.heads, layers, config.model.recurrence),
          batch.labels);
      backward(loss);
      losses.push_back(loss.item());
      std::vector<Tensor> grads;
      for (const auto& [name, w] : weights) grads.push_back(grad(w));
      const double scale = std::min(1.0, o.clip / (ratel::global_norm(grads) + 1e-6));
      ++updates;
      for (auto& [name, w] : weights) {
        const Tensor g = grad(w) * scale;
        m[name] = m[name] * o.beta1 + g * (1 - o.beta1);
        v[name] = v[name] * o.beta2 + g * g * (1 - o.beta2);
        auto root = ratel::to_vector<double>(v[name]);
        for (double& x : root) x = std::sqrt(x);
        const Tensor bottom =
            ratel::from_vector(root, w.shape(), dtype) / std::sqrt(1 - std::pow(o.beta2, updates)) + o.eps;
        w = requires_grad(detach(detach(w) * (1 - rate * o.weight_decay) -
                                 m[name] / bottom * (rate / (1 - std::pow(o.beta1, updates)))));
      }
    }
    run.sparse_loss.push_back(losses.size() > 1 ? losses[0] : 0);
    run.loss.push_back(losses.back());
  }
  for (const auto& [name, w] : weights) run.end[name] = detach(w);
  return run;
}

Tensor as_tensor(const std::vector<double>& values) {
  return ratel::from_vector(values, {static_cast<int64_t>(values.size())});
}

}  // namespace

BOOST_AUTO_TEST_CASE(f64_within_1e_7_of_the_reference_program) {
  for (const char* name : {"training_joint", "training_adapt"})
    for (const int64_t accumulate : {1, 2}) {
      const Golden golden(name);
      const Run run = run_trainer(golden, DType::f64, accumulate);
      test::check_close(as_tensor(run.loss), golden["loss"], 1e-7, std::string(name) + " loss");
      test::check_close(as_tensor(run.sparse_loss), golden["sparse_loss"], 1e-7, std::string(name) + " sparse_loss");
      test::check_close(as_tensor(run.rate), golden["learning_rate"], 1e-14, std::string(name) + " learning_rate");
      for (const auto& [path, expected] : weights_of(golden, "end."))
        test::check_close(run.end.at(path), expected, 1e-7, name + (" end " + path));
    }
}

namespace {

/// How far tensors are from exact ones, each relative to its own size: root mean square and maximum over all of them.
struct PooledError {
  double squares = 0, largest = 0;
  void add(const Tensor& x, const Tensor& exact) {
    const auto a = ratel::to_vector<double>(x), b = ratel::to_vector<double>(exact);
    BOOST_REQUIRE(a.size() == b.size());
    double error = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      error += (a[i] - b[i]) * (a[i] - b[i]);
      size += b[i] * b[i];
    }
    squares += error / size;
    largest = std::max(largest, test::relative_error(x, exact));
  }
};

}  // namespace

// AdamW divides by the square root of the second moment: where a gradient nearly vanishes, one rounding turns into a
// step in another direction, in the plain version as in ours, and 20 steps carry it into all weights. So the errors of
// all weights are taken together; the losses stand on their own.
BOOST_AUTO_TEST_CASE(f32_errs_at_most_twice_as_much_as_the_plain_composition) {
  for (const char* name : {"training_joint", "training_adapt"}) {
    const Golden golden(name);
    const Run fast = run_trainer(golden, DType::f32), plain = run_plain(golden, DType::f32);
    PooledError ours, theirs;
    const auto compare = [&](const Tensor& x, const Tensor& y, const Tensor& exact, const std::string& what) {
      ours.add(x, exact);
      theirs.add(y, exact);
      BOOST_TEST_MESSAGE(name << ' ' << what << ": error " << test::relative_error(x, exact) << ", plain "
                              << test::relative_error(y, exact));
    };
    test::check_within_twice(as_tensor(fast.loss), as_tensor(plain.loss), golden["loss"], name);
    for (const auto& [path, expected] : weights_of(golden, "end."))
      compare(fast.end.at(path), plain.end.at(path), expected, path);
    BOOST_TEST_MESSAGE(name << ": largest " << ours.largest << ", plain " << theirs.largest << "; rms "
                            << std::sqrt(ours.squares) << ", plain " << std::sqrt(theirs.squares));
    BOOST_TEST(ours.largest <= 2 * theirs.largest, name);
    BOOST_TEST(std::sqrt(ours.squares) <= 2 * std::sqrt(theirs.squares), name);
  }
}
