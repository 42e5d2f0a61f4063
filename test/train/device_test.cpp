// Runs from config to checkpoint on every device and in bf16.

#include <algorithm>
#include <cmath>

#include "io/metrics_file.h"
#include "ops/concat.h"
#include "test/support/devices.h"
#include "test/train/tiny_run.h"
#include "train/gates.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::DType;
using ratel::Tensor;

namespace {

struct Fixture {
  test::TemporaryFolder folder;
  Fixture() { test::write_tokens(folder / "data.bin", test::tiny_tokens(300, 1)); }

  /// Four joint steps of a micro model into a folder of this name.
  [[nodiscard]] train::TrainOptions options(const std::string& name, std::vector<std::string> overrides) const {
    train::TrainConfig config = test::tiny_config();
    config.model.channels = 16;
    config.data.seq_len = 16;
    config.train.steps = 4;
    config.train.checkpoint_every = 2;
    train::TrainOptions result;
    result.config = test::write_config(folder / (name + ".toml"), config);
    result.overrides = std::move(overrides);
    result.data = folder / "data.bin";
    result.out = folder / name;
    return result;
  }

  /// The dense and sparse losses of a run, in the order of its steps.
  [[nodiscard]] Tensor losses(const std::string& name, const std::vector<std::string>& overrides) const {
    train::train_run(options(name, overrides));
    std::vector<double> values;
    for (const ratel::io::Json& row : ratel::io::read_metrics(train::metrics_path(folder / name))) {
      const ratel::io::JsonCursor cursor(row, name);
      values.push_back(cursor["sparse_loss"].as_double());
      values.push_back(cursor["loss"].as_double());
    }
    const auto count = static_cast<int64_t>(values.size());
    return ratel::from_vector(values, {count});
  }

  /// Stops after three steps and resumes, and compares with a run that did not.
  void check_resumes(const std::string& name, const std::vector<std::string>& overrides) const {
    train::train_run(options(name + "_whole", overrides));
    auto first = options(name, overrides);
    int64_t steps = 0;
    first.stop = [&] { return ++steps == 3; };
    train::train_run(first);
    auto second = options(name, overrides);
    second.start = train::Start::resume;
    train::train_run(second);
    test::check_same_run(folder / (name + "_whole"), folder / name, 4, name);
  }
};

std::string on(ratel::Device device) { return ratel::concat_text("train.device=", device); }

}  // namespace

BOOST_FIXTURE_TEST_CASE(bf16_trains_like_f32_with_f32_masters, Fixture) {
  const Tensor f32 = losses("f32", {}), bf16 = losses("bf16", {"train.dtype=bf16"});
  test::check_close(bf16, f32, 0x1p-7, "losses");
  const std::string checkpoint = train::checkpoint_path(folder / "bf16", 4);
  for (const char* name : {"/model.safetensors", "/optimizer.safetensors"}) {
    const auto file = ratel::io::SafetensorsFile::open(checkpoint + name);
    for (const auto& entry : file.entries()) BOOST_TEST((entry.dtype == DType::f32));
  }
  check_resumes("bf16_resumed", {"train.dtype=bf16"});
}

BOOST_FIXTURE_TEST_CASE(a_gpu_trains_like_the_cpu, Fixture) {
  int runs = 0;
  test::on_gpus([&](ratel::Device device) {
    for (const char* dtype : {"f32", "bf16"}) {
      // The 2x rule on the worst of all losses: they are too few for its rows.
      std::vector<Tensor> fast, plain, exact;
      for (const char* seed : {"1", "2"}) {
        const auto run = [&](const std::string& place, const std::string& in) {
          return losses("run" + std::to_string(++runs),
                        {place, "train.dtype=" + in, std::string("train.seed=") + seed});
        };
        fast.push_back(run(on(device), dtype));
        plain.push_back(run("train.device=cpu", dtype));
        exact.push_back(run("train.device=cpu", "f64"));
      }
      const double ours = test::relative_error(concat(fast, 0), concat(exact, 0));
      const double theirs = test::relative_error(concat(plain, 0), concat(exact, 0));
      BOOST_TEST(ours <= 2 * theirs, dtype << ": " << ours << " on the GPU, " << theirs << " on the CPU");
      check_resumes(std::string("resumed_") + dtype, {on(device), std::string("train.dtype=") + dtype});
    }
  });
}

// Heads of 64 channels, so that a GPU takes its tensor cores. Noise is what another seed does: other weights, another
// order of the data.
BOOST_AUTO_TEST_CASE(two_hundred_steps_end_within_the_noise_of_f32) {
  const test::TemporaryFolder folder;
  test::write_tokens(folder / "data.bin", test::tiny_tokens(5000, 1));
  train::TrainConfig config = test::tiny_config();
  config.model.channels = 64;
  config.model.heads = 1;
  config.data.seq_len = 32;
  config.data.accumulate = 1;
  config.train.steps = 200;
  config.train.checkpoint_every = 200;
  const std::string path = test::write_config(folder / "config.toml", config);
  int runs = 0;
  // The mean of the last 20 losses.
  const auto end_of_run = [&](const std::string& seed, const std::string& dtype, ratel::Device device) {
    train::TrainOptions options;
    options.config = path;
    options.overrides = {"train.seed=" + seed, "data.seed=" + seed, "train.dtype=" + dtype, on(device)};
    options.data = folder / "data.bin";
    options.out = folder / ("run" + std::to_string(++runs));
    train::train_run(options);
    const auto rows = ratel::io::read_metrics(train::metrics_path(options.out));
    double sum = 0;
    for (size_t step = 180; step < 200; ++step) sum += ratel::io::JsonCursor(rows[step], path)["loss"].as_double() / 20;
    return sum;
  };
  std::vector<double> exact;
  for (const char* seed : {"1", "2", "3"}) exact.push_back(end_of_run(seed, "f32", ratel::kCpu));
  const auto [least, most] = std::ranges::minmax(exact);
  BOOST_TEST(most < 0.75 * std::log(test::kTinyVocab), "it learns nothing: ends at " << most);
  for (const ratel::Device device : test::devices()) {
    if (test::is_imitated(device)) {
      test::note_skipped("200 steps take minutes on the twin");
      continue;
    }
    for (const char* dtype : {"f32", "bf16"}) {
      if (!device.is_cuda() && dtype == std::string("f32")) continue;  // which is what the others are held against
      const double end = end_of_run("1", dtype, device);
      BOOST_TEST_MESSAGE(dtype << " on " << device << ": " << end << ", f32 on the CPU: " << exact[0] << ", seeds from "
                               << least << " to " << most);
      BOOST_TEST(std::abs(end - exact[0]) <= most - least, dtype << " on " << device << ": ends at " << end << ", not "
                                                                 << exact[0] << "; seeds differ by " << most - least);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_gpu_sees_the_gates_that_the_cpu_sees) {
  const ratel::RatPlusConfig config{.vocab_size = test::kTinyVocab, .layers = 2, .channels = 16, .heads = 2};
  const std::vector<std::vector<int64_t>> windows{test::tiny_tokens(71, 1), test::tiny_tokens(71, 2)};
  const std::vector<train::Batch> batches{train::batch_of(windows, test::kTinyEos)};
  const auto gates_on = [&](ratel::Device device) {
    ratel::nn::ParamStore store(DType::f64, 1, ratel::nn::Start::init, device);
    const ratel::RatPlus model(ratel::nn::Scope(store), config);
    std::vector<ratel::NamedTensor> weights;  // larger ones than at the start
    for (const auto& [name, p] : store.parameters())
      weights.push_back({name, test::randn(p.shape(), weights.size() + 1)});
    store.load(weights, "random");
    return train::measure_gates(model, batches, {.pattern = ratel::ModelPattern::uniform({4, 1, 1})});
  };
  const auto tensor = [](const std::vector<double>& values) { return ratel::from_vector(values, {16}); };
  const train::Gates expected = gates_on(ratel::kCpu);
  test::on_gpus([&](ratel::Device device) {
    const train::Gates found = gates_on(device);
    BOOST_TEST(std::abs(found.loss - expected.loss) <= 1e-10 * expected.loss);
    for (size_t layer = 0; layer < 2; ++layer) {
      const auto &ours = found.layers[layer], &theirs = expected.layers[layer];
      test::check_close(tensor(ours.gate), tensor(theirs.gate), 1e-10, "gate");
      test::check_close(tensor(ours.time_constant), tensor(theirs.time_constant), 1e-10, "time constant");
      test::check_close(tensor(ours.kept), tensor(theirs.kept), 1e-8, "kept");
      BOOST_TEST(std::abs(ours.gradient->share() - theirs.gradient->share()) <= 1e-8);
    }
  });
}

BOOST_FIXTURE_TEST_CASE(a_gpu_that_is_not_there_is_named, Fixture) {
  const auto nowhere = options("nowhere", {"train.device=cuda:99"});
  test::check_error([&] { train::train_run(nowhere); }, "device cuda:99: ");
  BOOST_TEST(train::is_empty_run(nowhere.out));
  test::check_error([&] { train::train_run(options("gpu", {"train.device=gpu"})); },
                    "train.device: expected cpu, cuda or cuda:N, found \"gpu\"");
}
