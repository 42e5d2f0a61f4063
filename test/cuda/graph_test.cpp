#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/device_graph.h"
#include "core/device_memory.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/fused_linear.h"
#include "ops/matmul.h"
#include "ops/unary.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::Device;
using ratel::DeviceGraph;
using ratel::DType;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

/// Kernels, a product, working memory that comes and goes.
Tensor work(const Tensor& x, const Tensor& w) { return exp(matmul_nt(x, w) * 0.1) + sigmoid(x * x); }

std::optional<DeviceGraph> until_the_end;  // made before all that counts its bytes, and so gone behind it

}  // namespace

BOOST_AUTO_TEST_CASE(a_graph_computes_what_its_work_does_from_what_lies_there_now) {
  test::on_gpus([](Device device) {
    const Tensor w = to(test::randn({24, 24}, 1, DType::f32), device);
    Tensor x = to(test::randn({5, 24}, 2, DType::f32), device), y = empty_like(x);
    work(x, w);  // cuBLASLt chooses its algorithm
    const DeviceGraph graph(device, [&] { copy_into(y, work(x, w)); });
    for (const uint64_t seed : {3, 4, 5}) {
      copy_into(x, test::randn({5, 24}, seed, DType::f32));
      copy_into(y, zeros_like(y));
      const Tensor expected = work(x, w);
      graph.run();
      test::check_identical(to(y, ratel::kCpu), to(expected, ratel::kCpu), "a run");
    }
  });
}

// Each product asks for its weight while the one before runs, and reads that one's result once it is there; working
// memory is used again by every third.
BOOST_AUTO_TEST_CASE(with_constant_weights_kernels_overlap_and_compute_the_same) {
  test::on_gpus([](Device device) {
    constexpr int64_t kLayers = 8, C = 320;
    std::vector<Tensor> weights;
    for (int64_t i = 0; i < kLayers; ++i)
      weights.push_back(to(test::randn({C, C}, static_cast<uint64_t>(i), DType::bf16) * 0.05, device));
    const Tensor norm_weight = to(ratel::ones({C}, DType::bf16), device);
    for (const int64_t rows : {1, 6}) {
      const auto chain = [&](Tensor x) {
        for (size_t i = 0; i < weights.size(); i += 2) {
          const Tensor wide =
              fused_linear(x, weights[i], {.norm_weight = norm_weight, .activation = ratel::Activation::gelu});
          x = fused_linear(wide, weights[i + 1], {.residual = x});
        }
        return x;
      };
      Tensor x = to(test::randn({rows, C}, 20, DType::bf16), device), y = empty_like(x);
      const DeviceGraph graph(
          device, [&] { copy_into(y, chain(x)); }, ratel::Weights::constant);
      for (const uint64_t seed : {21, 22, 23}) {
        copy_into(x, test::randn({rows, C}, seed, DType::bf16));
        const Tensor expected = chain(x);
        graph.run();
        test::check_identical(to(y, ratel::kCpu), to(expected, ratel::kCpu), ratel::concat_text(rows, " rows"));
      }
    }
  });
}

// A kernel that asks for its weight early must not find there what the graph itself writes, a copy in order.
BOOST_AUTO_TEST_CASE(a_transposed_constant_weight_is_read_where_it_lies) {
  test::on_gpus([](Device device) {
    constexpr int64_t C = 64;
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const int64_t rows : {1, 6}) {
        const Tensor x = to(test::randn({rows, C}, 1, dtype), device), w = to(test::randn({C, C}, 2, dtype), device);
        Tensor y = empty_like(x);
        const DeviceGraph graph(
            device, [&] { copy_into(y, fused_linear(x, transpose(w, 0, 1))); }, ratel::Weights::constant);
        graph.run();
        test::check_identical(to(y, ratel::kCpu), to(matmul(x, w), ratel::kCpu),
                              ratel::concat_text(rows, " rows of ", dtype));
      }
  });
}

BOOST_AUTO_TEST_CASE(recording_computes_nothing) {
  test::on_gpus([](Device device) {
    Tensor y = ratel::full({7}, 3, DType::f32, device);
    const DeviceGraph graph(device, [&] { copy_into(y, y + 1); });
    BOOST_TEST(to_vector<float>(y)[6] == 3.0F);
    graph.run();
    graph.run();
    BOOST_TEST(to_vector<float>(y)[6] == 5.0F);
  });
}

BOOST_AUTO_TEST_CASE(what_could_not_run_again_is_refused) {
  test::on_gpus([](Device device) {
    const Tensor x = ratel::full({7}, 3, DType::f32, device);
    Tensor made;
    test::check_error([&] { DeviceGraph(device, [&] { made = x + 1; }); }, "outlive it");
    made = {};
    std::optional<Tensor> older = x + 1;
    test::check_error([&] { DeviceGraph(device, [&] { older.reset(); }); }, "1 tensors from before were freed");
    test::check_error([&] { DeviceGraph(device, [&] { ratel::fail("the work's own error"); }); }, "own error");
    // After all these, recording works.
    Tensor y = empty_like(x);
    const DeviceGraph graph(device, [&] { copy_into(y, x + 1); });
    graph.run();
    BOOST_TEST(to_vector<float>(y)[0] == 4.0F);
  });
  test::check_error([] { DeviceGraph(ratel::kCpu, [] {}); }, "a graph is recorded on a GPU, not on cpu");
}

BOOST_AUTO_TEST_CASE(what_a_stage_makes_lasts_into_later_ones) {
  test::on_gpus([](Device device) {
    using Runs = DeviceGraph::Runs;
    const int64_t before = memory_use(device).live;
    {
      const Tensor x = to(test::randn({300}, 1, DType::f32), device), y = empty_like(x);
      Tensor sum;
      const std::vector<DeviceGraph::Stage> stages{{[&] { sum = x * 1; }, Runs::once},
                                                   {[&] { add_into(sum, x * 2); }, Runs::any},
                                                   {[&] { copy_into(y, std::exchange(sum, {})); }, Runs::once}};
      const DeviceGraph graph(device, stages);
      for (const int additions : {0, 3, 1}) {
        copy_into(x, test::randn({300}, static_cast<uint64_t>(additions), DType::f32));
        Tensor expected = x * 1;
        for (int i = 0; i < additions; ++i) add_into(expected, x * 2);
        graph.run(0);
        for (int i = 0; i < additions; ++i) graph.run(1);
        graph.run(2);
        test::check_identical(to(y, ratel::kCpu), to(expected, ratel::kCpu), "a run");
      }
      test::check_error([&] { graph.run(3); }, "there is no stage 3 of 3");
    }
    BOOST_TEST(memory_use(device).live == before);
  });
}

// On a GPU another graph would write over what lasts, and nobody would notice.
BOOST_AUTO_TEST_CASE(nothing_runs_between_stages_that_something_lasts_over) {
  test::on_gpus([](Device device) {
    using Runs = DeviceGraph::Runs;
    const Tensor x = ratel::full({300}, 2, DType::f32, device), y = ratel::zeros({300}, DType::f32, device);
    const auto value = [&] { return to_vector<float>(y)[299]; };
    Tensor sum;
    const auto begin = [&] { sum = x * 1; };
    const auto add = [&] { add_into(sum, x * 2); };
    const auto end = [&] { copy_into(y, std::exchange(sum, {})); };
    const auto alone = [&] { copy_into(y, x + 1); };  // nothing lasts into it, nor behind it
    const std::vector<DeviceGraph::Stage> stages{{begin, Runs::once}, {add, Runs::any},  {add, Runs::once},
                                                 {add, Runs::any},    {end, Runs::once}, {alone}};
    std::optional<DeviceGraph> graph(std::in_place, device, stages);
    const DeviceGraph other(device, [&] { copy_into(y, x * 3); });
    const auto refused = [&](size_t stage, const std::string& why) {
      test::check_error([&] { graph->run(stage); }, ratel::concat_text("stage ", stage, " needs what those before"));
      test::check_error([&] { graph->run(stage); }, why);
    };
    for (const size_t stage : {1, 2, 3, 4}) refused(stage, "was no stage of this graph");
    graph->run(0);
    for (const size_t stage : {3, 4}) refused(stage, "was stage 0");  // the third may not be left out
    for (const size_t stage : {0, 0, 1, 1, 2}) graph->run(stage);
    for (const size_t stage : {1, 2}) refused(stage, "was stage 2");
    graph->run(4);
    BOOST_TEST(value() == 14.0F);  // 2, and three times 4
    graph->run(0);
    other.run();
    for (const size_t stage : {1, 2, 3, 4}) refused(stage, "was no stage of this graph");
    graph->run(5);
    BOOST_TEST(value() == 3.0F);
    for (const size_t stage : {0, 2, 3, 3, 4, 5}) graph->run(stage);
    for (const size_t stage : {0, 2, 4}) graph->run(stage);
    BOOST_TEST(value() == 6.0F);
    // A graph that has gone is no other one's last run, wherever that lies.
    graph->run(0);
    graph.reset();
    graph.emplace(device, stages);
    refused(1, "was no stage of this graph");
  });
}

BOOST_AUTO_TEST_CASE(a_stage_that_could_not_run_any_number_of_times_is_refused) {
  test::on_gpus([](Device device) {
    using Runs = DeviceGraph::Runs;
    const int64_t before = memory_use(device).live;
    {
      const Tensor x = ratel::full({7}, 3, DType::f32, device);
      Tensor made;
      const auto make = [&] { made = x + 1; };
      const auto forget = [&] { made = {}; };
      const auto record = [&](const std::vector<DeviceGraph::Stage>& stages) { DeviceGraph(device, stages); };
      const std::string stage = "a graph's stage that runs any number of times: 1 tensors ";
      test::check_error([&] { record({{make, Runs::any}, {forget, Runs::once}}); }, stage + "that were made");
      forget();
      test::check_error([&] { record({{make, Runs::once}, {forget, Runs::any}}); }, stage + "from before were freed");
      forget();
      // One that makes as many as it frees, of an earlier stage.
      test::check_error(
          [&] {
            record({{make, Runs::once}, {make, Runs::any}, {forget, Runs::once}});
          },
          stage + "that were made");
      forget();
      test::check_error([&] { record({{make, Runs::once}, {[] {}, Runs::any}}); }, "a graph: 1 tensors that were made");
      // What a recording that failed made is no later one's own.
      test::check_error([&] { record({{forget, Runs::once}}); }, "a graph: 1 tensors from before were freed");
      record({{make, Runs::once}, {forget, Runs::once}});
    }
    BOOST_TEST(memory_use(device).live == before);
  });
}

BOOST_AUTO_TEST_CASE(what_a_recording_that_failed_took_is_counted) {
  test::on_gpus([](Device device) {
    const int64_t n = int64_t{1} << 24, before = memory_use(device).live;
    {
      const Tensor x = ratel::full({7}, 3, DType::f32, device);
      const DeviceGraph other(device, [&] { copy_into(x, x + 1); });
      const auto fails = [&] {
        ratel::empty({n}, DType::f32, device);
        ratel::fail("the work's own error");
      };
      test::check_error([&] { DeviceGraph(device, fails); }, "own error");
      // A GPU's graphs keep it as long as one is there.
      if (!test::is_imitated(device)) BOOST_TEST(memory_use(device).live >= before + 4 * n);
    }
    BOOST_TEST(memory_use(device).live == before);
  });
}

BOOST_AUTO_TEST_CASE(what_a_graph_keeps_is_counted_while_it_lasts) {
  test::on_gpus([](Device device) {
    const int64_t n = int64_t{1} << 20;
    Tensor x = ratel::full({n}, 3, DType::f32, device);
    const int64_t before = memory_use(device).live;
    reset_peak_memory(device);
    std::optional<DeviceGraph> graph(std::in_place, device, [&] { copy_into(x, (x + 1) * 2); });
    BOOST_TEST(memory_use(device).live >= before + 8 * n);  // x + 1, and twice that
    BOOST_TEST(memory_use(device).peak >= before + 8 * n);
    const int64_t one = memory_use(device).live;
    {
      const DeviceGraph smaller(device, [&] { copy_into(x, x + 1); });
      // They run one after the other, in the same memory; a GPU's driver decides that by itself.
      if (test::is_imitated(device)) BOOST_TEST(memory_use(device).live == one);
      smaller.run();
      graph->run();
      BOOST_TEST(to_vector<float>(x).back() == 10.0F);
    }
    BOOST_TEST(memory_use(device).live >= one);
    graph.reset();
    BOOST_TEST(memory_use(device).live == before);
  });
}

BOOST_AUTO_TEST_CASE(more_memory_than_there_is_is_a_memory_error) {
  test::on_gpus([](Device device) {
    const auto out_of_memory = [](const ratel::Error& error) {
      BOOST_TEST((error.kind() == ratel::ErrorKind::memory), error.what());
      return true;
    };
    const int64_t before = memory_use(device).live, n = int64_t{1} << 20;
    const auto ask_for_too_much = [&] { ratel::empty({int64_t{1} << 45}, DType::f32, device); };
    const auto greedy = [&] {
      DeviceGraph(device, [&] {
        const Tensor held = ratel::empty({n}, DType::f32, device);
        ask_for_too_much();
      });
    };
    BOOST_CHECK_EXCEPTION(greedy(), ratel::Error, out_of_memory);
    BOOST_TEST(memory_use(device).live == before);
    // The message counts what graphs hold, one that is being recorded too, and says how to do without.
    const std::string launching = "train.graph = false";
    if (test::is_imitated(device))
      test::check_error(greedy,
                        ratel::concat_text("tensors hold ", before + 4 * n, " bytes, most of them by graphs 4"));
    test::check_error(greedy, launching);
    Tensor y = ratel::zeros({7}, DType::f32, device);
    {
      const DeviceGraph graph(device, [&] { copy_into(y, y + 1); });
      graph.run();
      test::check_error(ask_for_too_much, launching);
    }
    BOOST_TEST(to_vector<float>(y)[0] == 1.0F);
    try {
      ask_for_too_much();
      BOOST_ERROR("128 TiB were given out");
    } catch (const ratel::Error& error) {
      BOOST_TEST(std::string(error.what()).find(launching) == std::string::npos);
    }
  });
}

BOOST_AUTO_TEST_CASE(copies_to_the_host_are_refused) {
  test::on_gpus([](Device device) {
    const Tensor x = ratel::full({7}, 3, DType::f32, device);
    BOOST_CHECK_THROW(DeviceGraph(device, [&] { to_vector<float>(x); }), ratel::Error);
    BOOST_CHECK_THROW(DeviceGraph(device, [&] { to(ratel::ones({7}, DType::f32), device); }), ratel::Error);
  });
}

BOOST_AUTO_TEST_CASE(a_graph_may_end_with_the_program) {
  test::on_gpus([](Device device) {
    const Tensor x = ratel::zeros({1000}, DType::f32, device);
    until_the_end.emplace(device, [&] { copy_into(x, x + 1); });
    until_the_end->run();
    ratel::synchronize(device);  // a crash is the exit code
  });
}
