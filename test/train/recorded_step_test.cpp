// A step of training that was recorded once, against the same step launched kernel by kernel: on GPUs.

#include <cmath>
#include <limits>
#include <utility>

#include "autograd/gradient.h"
#include "core/device_memory.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/matmul.h"
#include "ops/view.h"
#include "test/support/devices.h"
#include "test/train/tiny_run.h"
#include "train/trainer.h"
#include "train/weights.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::Device;
using ratel::DType;
using ratel::Tensor;
using train::Joint;
using train::TrainConfig;

namespace {

constexpr int64_t kT = 6;

/// Everything a trainer needs.
struct Training {
  TrainConfig config;
  train::Weights weights;
  ratel::RatPlus model;
  train::Optimizer optimizer;
  train::Trainer trainer;

  Training(TrainConfig c, const train::TrainData& data)
      : config(std::move(c)),
        weights(config),
        model(ratel::nn::Scope(weights.computed()), config.model),
        optimizer(weights.masters(), weights.computed(), config.optimizer),
        trainer(config, model, optimizer, [&data](int64_t first, int64_t count) { return data.batch(first, count); }) {}
};

struct Fixture {
  test::TemporaryFolder folder;
  train::TrainData data = make();
  [[nodiscard]] train::TrainData make() const {
    test::write_tokens(folder / "data.bin", test::tiny_tokens(300, 1));
    return {ratel::io::TokenFile::open(folder / "data.bin", test::kTinyVocab), kT, 3, test::kTinyEos};
  }
};

/// One layer and few tokens: the twin takes its time.
TrainConfig config_on(Device device) {
  TrainConfig config = test::tiny_config();
  config.model.layers = 1;
  config.data.seq_len = kT;
  config.data.batch_size = 2;
  config.train.device = ratel::concat_text(device);
  return config;
}

/// All of a report that no clock and no memory decides.
std::string exact(const train::StepReport& report) {
  const ratel::io::Json all = to_json(report);
  ratel::io::Json row = ratel::io::Json::object({});
  for (const auto& [key, value] : all.as_object("report"))
    if (!test::kClockColumns.contains(key)) row.set(key, value);
  return row.dump();
}

void check_same_weights(Training& a, Training& b, const std::string& what) {
  for (const auto& [name, p] : a.weights.masters().parameters())
    test::check_identical(to(detach(b.weights.masters().at(name)), ratel::kCpu), to(detach(p), ratel::kCpu),
                          ratel::concat_text(what, ' ', name));
  for (size_t i = 0; i < a.optimizer.state().size(); ++i)
    test::check_identical(to(b.optimizer.state()[i].tensor, ratel::kCpu),
                          to(a.optimizer.state()[i].tensor, ratel::kCpu),
                          ratel::concat_text(what, ' ', a.optimizer.state()[i].name));
  BOOST_TEST(a.optimizer.steps() == b.optimizer.steps(), what);
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(a_recorded_step_is_the_same_bits, Fixture) {
  struct Case {
    Joint joint;
    int64_t accumulate;
    bool recompute;
    DType dtype;
    ratel::Recurrence recurrence;
    train::LayerValues dilation, window;
    ratel::cuda::GemmChoice gemms;
    const char* what;
  };
  using enum ratel::Recurrence;
  using enum ratel::cuda::GemmChoice;
  train::LayerValues by_head{1};
  by_head.layers = {{1, 3}};

  test::on_gpus([&](Device device) {
    for (const Case& c :
         {Case{Joint::alternate, 2, true, DType::f32, gated, {1}, {0}, heuristic, "alternate, parts, recompute"},
          Case{Joint::sum, 1, false, DType::bf16, none, {1}, {0}, timed, "sum, bf16, attention only, autotuned"},
          Case{Joint::off, 2, false, DType::f32, gated, by_head, {2}, heuristic, "off, parts, heads apart"}}) {
      TrainConfig config = config_on(device);
      config.train.steps = 3;
      config.train.joint = c.joint;
      config.data.accumulate = c.accumulate;
      config.train.recompute = c.recompute;
      config.train.dtype = c.dtype;
      config.train.dilation = c.dilation;
      config.train.window = c.window;
      config.model.recurrence = c.recurrence;
      const ratel::cuda::GemmChoiceGuard guard(c.gemms);
      Training recorded(config, data);
      config.train.graph = false;
      Training plain(config, data);
      while (!plain.trainer.finished())
        BOOST_TEST(exact(recorded.trainer.step()) == exact(plain.trainer.step()), c.what);
      check_same_weights(plain, recorded, c.what);
    }
  });
}

// That no gradient is zeroed before it is computed, and none added to but where a launched step does; only the parts of
// a batch are copied to the recording, and their losses from it.
BOOST_FIXTURE_TEST_CASE(a_recorded_step_runs_the_kernels_of_a_launched_one, Fixture) {
  test::on_gpus([&](Device device) {
    if (!test::is_imitated(device)) return test::note_skipped("launches are counted on the twin alone");
    for (const auto& [joint, parts] : {std::pair{Joint::alternate, 1}, std::pair{Joint::sum, 2}}) {
      TrainConfig config = config_on(device);
      config.train.joint = joint;
      config.train.dtype = DType::bf16;
      config.data.accumulate = parts;
      const auto launches_of_third_step = [&] {
        Training training(config, data);
        for (int step = 0; step < 2; ++step) training.trainer.step();
        const auto before = test::twin_launches();
        training.trainer.step();
        auto launches = test::twin_launches();
        for (const auto& [kernel, count] : before) launches[kernel] -= count;
        return launches;
      };
      auto recorded = launches_of_third_step();
      config.train.graph = false;
      const auto launched = launches_of_third_step();
      BOOST_TEST(launched.at("gemm") > 0);
      recorded["copy"] -= int64_t{10} * parts;  // both passes: tokens, labels, two shares, a loss
      for (const auto& [kernel, count] : launched) BOOST_TEST(recorded[kernel] == count, kernel);
      BOOST_TEST(recorded.size() == launched.size());
    }
  });
}

BOOST_FIXTURE_TEST_CASE(gradients_that_others_left_are_none_of_a_step, Fixture) {
  test::on_gpus([&](Device device) {
    TrainConfig config = config_on(device);
    Training recorded(config, data);
    config.train.graph = false;
    Training plain(config, data);
    for (int step = 0; step < 3; ++step) {
      for (Training* training : {&recorded, &plain})
        set_grad(training->model.norm.weight, ratel::full({8}, 100 + step, DType::f32, device));
      BOOST_TEST(exact(recorded.trainer.step()) == exact(plain.trainer.step()), "step " << step);
      for (Training* training : {&recorded, &plain})
        for (const auto& [name, p] : training->weights.computed().parameters())
          BOOST_TEST(!grad(p).defined(), name << " after step " << step);
    }
    check_same_weights(plain, recorded, "gradients of others");
  });
}

BOOST_FIXTURE_TEST_CASE(a_tape_notices_a_recorded_step, Fixture) {
  test::on_gpus([&](Device device) {
    TrainConfig config = config_on(device);
    config.train.dtype = DType::bf16;
    Training b(config, data);
    requires_grad(b.weights.computed().at("norm.weight"), false);
    const auto versions = [&](const std::string& path) {
      std::vector<uint64_t> all;
      for (const auto* store : {&b.weights.masters(), &b.weights.computed()})
        all.push_back(store->at(path).storage()->version());
      for (const auto& [name, moment] : b.optimizer.state())
        if (name == "m." + path || name == "v." + path) all.push_back(moment.storage()->version());
      return all;
    };
    for (int step = 0; step < 2; ++step) b.trainer.step();
    const train::Batch batch = data.batch(0, 2);
    const Tensor loss = b.model.loss(to(batch.tokens, device), to(batch.labels, device), {});
    const auto frozen = versions("norm.weight"), trained = versions("embedding.weight");
    b.trainer.step();
    test::check_error([&] { ratel::backward(loss); }, "changed in place");
    BOOST_TEST(versions("norm.weight") == frozen, boost::test_tools::per_element());
    const auto now = versions("embedding.weight");
    BOOST_TEST(now.size() == 4u);
    for (size_t i = 0; i < now.size(); ++i) BOOST_TEST(now[i] > trained[i]);
  });
}

// Wherever it runs out of memory, up to the last bytes of all, which AdamW asks for.
BOOST_FIXTURE_TEST_CASE(a_recording_that_fails_leaves_nothing, Fixture) {
  test::on_gpus([&](Device device) {
    if (!test::is_imitated(device)) return test::note_skipped("the twin's memory alone can be limited");
    const size_t at_first = test::twin_memory_given();
    for (const Joint joint : {Joint::alternate, Joint::sum}) {
      TrainConfig config = config_on(device);
      config.train.joint = joint;
      Training b(config, data), plain(config, data);
      for (Training* training : {&b, &plain}) training->trainer.step();
      const size_t launched = test::twin_memory_given();
      plain.trainer.step();
      const size_t before = test::twin_memory_given(), whole = before - launched;
      size_t recorded = 0;  // of the whole, by the first of two updates, which stays when the second one's fails
      int failed = 0;
      std::string last_error;
      bool but_a_byte = false;
      for (size_t left = whole / 16; !but_a_byte; left += whole / 16) {
        const size_t missing = before + whole - test::twin_memory_given();
        but_a_byte = left >= missing;
        try {
          const test::TwinMemory memory(but_a_byte ? missing - 1 : left);
          b.trainer.step();
          BOOST_FAIL("recorded in less memory than it takes");
        } catch (const ratel::Error& error) {
          BOOST_TEST((error.kind() == ratel::ErrorKind::memory), error.what());
          last_error = error.what();
        }
        ++failed;
        const size_t held = test::twin_memory_given() - before;
        constexpr size_t kInputs = 300;  // bytes, where the stages of an update read a part
        if (joint == Joint::alternate && recorded == 0 && held > kInputs) recorded = held;
        BOOST_TEST(held <= recorded + kInputs);
        for (const auto& [name, p] : b.weights.computed().parameters()) BOOST_TEST(!grad(p).defined(), name);
      }
      BOOST_TEST(failed > 8);
      BOOST_TEST((recorded > 0) == (joint == Joint::alternate));
      BOOST_TEST(last_error.find("adamw asked for") != std::string::npos, last_error);
      b.trainer.step();
      check_same_weights(plain, b, "after recordings that failed");
    }
    BOOST_TEST(test::twin_memory_given() == at_first);
  });
}

BOOST_FIXTURE_TEST_CASE(a_launched_step_that_fails_leaves_nothing, Fixture) {
  test::on_gpus([&](Device device) {
    if (!test::is_imitated(device)) return test::note_skipped("the twin's memory alone can be limited");
    TrainConfig config = config_on(device);
    config.train.joint = Joint::off;
    config.train.graph = false;
    Training b(config, data), plain(config, data);
    for (Training* training : {&b, &plain}) training->trainer.step();
    const size_t before = test::twin_memory_given();
    reset_peak_memory(device);
    const int64_t live = memory_use(device).live;
    plain.trainer.step();
    const auto most = static_cast<size_t>(memory_use(device).peak - live);
    for (size_t left = most / 10; left < most; left += most / 10) {
      try {
        const test::TwinMemory memory(left);
        b.trainer.step();
        BOOST_FAIL("a step in less memory than it takes");
      } catch (const ratel::Error& error) {
        BOOST_TEST((error.kind() == ratel::ErrorKind::memory), error.what());
      }
      BOOST_TEST(test::twin_memory_given() == before);
      for (const auto& [name, p] : b.weights.computed().parameters()) BOOST_TEST(!grad(p).defined(), name);
    }
    b.trainer.step();
    check_same_weights(plain, b, "after steps that failed");
  });
}

BOOST_FIXTURE_TEST_CASE(an_update_that_is_not_finite_is_withheld_on_the_device, Fixture) {
  test::on_gpus([&](Device device) {
    for (const bool graph : {true, false}) {
      TrainConfig config = config_on(device);
      config.train.graph = graph;
      Training b(config, data);
      for (int step = 0; step < 2; ++step) b.trainer.step();
      const Tensor weight = detach(b.weights.masters().at("layers.0.mixer.out_proj.weight"));
      const Tensor first = slice(slice(weight, 0, 0, 1), 1, 0, 1), good = clone(first);
      const auto before = ratel::to_vector<float>(b.weights.masters().at("embedding.weight"));
      const auto moment = ratel::to_vector<float>(b.optimizer.state()[0].tensor);
      fill_into(first, std::numeric_limits<double>::quiet_NaN());
      std::vector<train::SkippedUpdate> skipped;
      const auto report = b.trainer.step([&](const train::SkippedUpdate& s) { skipped.push_back(s); });
      BOOST_TEST(report.skipped == 2);
      BOOST_REQUIRE(skipped.size() == 2u);
      BOOST_TEST(describe(skipped[0]) ==
                 "step 3: loss nan, gradient norm nan through the sparse pattern: not applied; samples 4 to 5");
      BOOST_TEST(!skipped[1].sparse);
      BOOST_TEST(b.optimizer.steps() == 4);
      BOOST_TEST(ratel::to_vector<float>(b.weights.masters().at("embedding.weight")) == before,
                 boost::test_tools::per_element());
      BOOST_TEST(ratel::to_vector<float>(b.optimizer.state()[0].tensor) == moment, boost::test_tools::per_element());
      copy_into(first, good);
      const auto after = b.trainer.step();
      BOOST_TEST(after.skipped == 0);
      BOOST_TEST(std::isfinite(after.loss));
      BOOST_TEST(b.optimizer.steps() == 6);
      BOOST_TEST(b.trainer.progress().skipped_in_a_row == 0);
    }
  });
}

BOOST_FIXTURE_TEST_CASE(a_recorded_step_asks_for_no_memory, Fixture) {
  test::on_gpus([&](Device device) {
    const auto before = memory_use(device);
    {
      Training b(config_on(device), data);
      const auto asked_for = [&] {
        const int64_t requested = memory_use(device).requested;
        b.trainer.step();
        return memory_use(device).requested - requested;
      };
      BOOST_TEST(asked_for() > 10'000);
      b.trainer.step();  // and recorded
      for (int step = 0; step < 2; ++step) BOOST_TEST(asked_for() == 0);
    }
    BOOST_TEST(memory_use(device).live == before.live);
  });
}

BOOST_FIXTURE_TEST_CASE(a_recorded_step_holds_what_a_launched_one_does, Fixture) {
  test::on_gpus([&](Device device) {
    if (!test::is_imitated(device)) return test::note_skipped("a GPU's graphs hold whole segments");
    for (const int64_t parts : {1, 2}) {
      TrainConfig config = config_on(device);
      config.train.joint = parts == 1 ? Joint::alternate : Joint::off;
      config.data.accumulate = parts;
      const auto most = [&] {
        const int64_t before = memory_use(device).live;
        Training training(config, data);
        training.trainer.step();
        reset_peak_memory(device);
        for (int step = 0; step < 2; ++step) training.trainer.step();
        return memory_use(device).peak - before;
      };
      const int64_t recorded = most();
      config.train.graph = false;
      const int64_t launched = most();
      BOOST_TEST(recorded >= launched - 1000);
      BOOST_TEST(recorded <= launched + 1000);  // where stages read a part
    }
  });
}

BOOST_FIXTURE_TEST_CASE(progress_set_back_reads_other_batches, Fixture) {
  test::on_gpus([&](Device device) {
    TrainConfig config = config_on(device);
    config.train.joint = Joint::off;
    config.optimizer.peak_rate = config.optimizer.final_rate = 0;  // so that a batch has one loss
    Training b(config, data);
    const train::Progress start = b.trainer.progress();
    std::vector<double> losses;
    for (int step = 0; step < 3; ++step) losses.push_back(b.trainer.step().loss);
    BOOST_TEST(losses[0] != losses[1]);
    b.trainer.set_progress(start);
    for (const double loss : losses) BOOST_TEST(b.trainer.step().loss == loss);
  });
}
