// Runs from config to checkpoint on every device and in bf16.

#include "io/metrics_file.h"
#include "ops/concat.h"
#include "test/support/devices.h"
#include "test/train/tiny_run.h"

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

BOOST_FIXTURE_TEST_CASE(a_gpu_that_is_not_there_is_named, Fixture) {
  const auto nowhere = options("nowhere", {"train.device=cuda:99"});
  test::check_error([&] { train::train_run(nowhere); }, "device cuda:99: ");
  BOOST_TEST(train::is_empty_run(nowhere.out));
  test::check_error([&] { train::train_run(options("gpu", {"train.device=gpu"})); },
                    "train.device: expected cpu, cuda or cuda:N, found \"gpu\"");
}
