// The two 20-step training runs of the reference program, by Trainer, Optimizer and schedule.
#include <cmath>
#include <map>

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
#include "test/support/devices.h"
#include "test/support/golden.h"
#include "test/support/reference_model.h"
#include "train/schedule.h"
#include "train/trainer.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::Device;
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
  c.data = {.seq_len = 48, .batch_size = 4, .tokenizer = "none", .eos = -1};
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

std::vector<ratel::NamedTensor> weights_of(const Golden& golden, const std::string& prefix) {
  std::vector<ratel::NamedTensor> weights;
  for (const std::string& name : golden.names(prefix))
    weights.push_back({*ratel::path_of_authors_name(name), golden[prefix + name]});
  return weights;
}

/// The weights a run starts from in draw n: the golden ones for n = 0, else moved by a tenth of their tensor's size.
std::vector<ratel::NamedTensor> start_of(const Golden& golden, uint64_t n) {
  auto weights = weights_of(golden, "start.");
  ratel::Rng rng(n);
  for (auto& [name, w] : weights) {
    const double size = std::sqrt(ratel::mean(w * w).item());
    if (n > 0) w = w + ratel::random_normal(w.shape(), rng, 0, 0.1 * size, w.dtype());
  }
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

Run run_trainer(const Golden& golden, const TrainConfig& config, Device device, uint64_t draw = 0) {
  const DType dtype = config.train.dtype;
  ratel::nn::ParamStore store(dtype, 0, ratel::nn::Start::init, device);
  const ratel::RatPlus model(ratel::nn::Scope(store), config.model);
  store.load(start_of(golden, draw), "golden");
  train::Optimizer optimizer(store, config.optimizer);
  train::Trainer trainer(config, model, optimizer, batches_of(golden));
  Run run;
  while (!trainer.finished()) {
    const auto report = trainer.step();
    run.sparse_loss.push_back(report.sparse_loss.value_or(0));
    run.loss.push_back(report.loss);
    run.rate.push_back(report.learning_rate);
  }
  for (const auto& [name, p] : store.parameters()) run.end[name] = to(detach(p), ratel::kCpu);
  return run;
}

/// The same from the composed references and AdamW of single elementwise steps, all of them in `dtype`.
Run run_plain(const Golden& golden, DType dtype, uint64_t draw = 0) {
  const TrainConfig config = config_of(golden, dtype);
  const auto& o = config.optimizer;
  const auto batches = batches_of(golden);
  test::Weights weights, m, v;
  for (const auto& [name, tensor] : start_of(golden, draw)) {
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
  for (const Device device : test::devices())
    for (const char* name : {"training_joint", "training_adapt"})
      for (const int64_t accumulate : {1, 2}) {
        const Golden golden(name);
        TrainConfig config = config_of(golden, DType::f64);
        config.data.accumulate = accumulate;
        const Run run = run_trainer(golden, config, device);
        const std::string what = ratel::concat_text(name, " on ", device);
        test::check_close(as_tensor(run.loss), golden["loss"], 1e-7, what + " loss");
        test::check_close(as_tensor(run.sparse_loss), golden["sparse_loss"], 1e-7, what + " sparse_loss");
        test::check_close(as_tensor(run.rate), golden["learning_rate"], 1e-14, what + " learning_rate");
        for (const auto& [path, expected] : weights_of(golden, "end."))
          test::check_close(run.end.at(path), expected, 1e-7, ratel::concat_text(what, " end ", path));
      }
}

// AdamW divides by the square root of the second moment: where a gradient nearly vanishes, one rounding turns into a
// step in another direction, in the plain version as in ours, and 20 steps multiply it. A run's error is luck over two
// decades, the same for all of its weights. What can be compared is the typical run: for each weight the geometric mean
// of its error over runs that start at different weights.
BOOST_AUTO_TEST_CASE(f32_typically_errs_at_most_twice_as_much_as_the_plain_composition) {
  constexpr uint64_t kRuns = 8;
  for (const Device device : test::devices())
    for (const char* name : {"training_joint", "training_adapt"}) {
      const Golden golden(name);
      std::map<std::string, double> log_ratio;
      const auto add = [&](const std::string& what, const Tensor& x, const Tensor& y, const Tensor& exact) {
        log_ratio[what] += std::log(test::relative_error(x, exact) / test::relative_error(y, exact)) / kRuns;
      };
      for (uint64_t run = 0; run < kRuns; ++run) {
        const Run fast = run_trainer(golden, config_of(golden, DType::f32), device, run);
        const Run plain = run_plain(golden, DType::f32, run);
        // In f64 ours is the reference program's, as the test above says.
        const Run exact = run_trainer(golden, config_of(golden, DType::f64), ratel::kCpu, run);
        add("loss", as_tensor(fast.loss), as_tensor(plain.loss), as_tensor(exact.loss));
        for (const auto& [path, weight] : exact.end) add(path, fast.end.at(path), plain.end.at(path), weight);
      }
      for (const auto& [what, mean] : log_ratio) {
        BOOST_TEST_MESSAGE(name << " on " << device << ' ' << what << ": " << std::exp(mean));
        BOOST_CHECK_MESSAGE(std::exp(mean) <= 2, name << " on " << device << ' ' << what << ": " << std::exp(mean)
                                                      << " times the plain version's error");
      }
    }
}
