#include "train/gates.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "autograd/gradient.h"
#include "nn/param_store.h"
#include "ops/backward.h"
#include "ops/create.h"
#include "ops/cross_entropy.h"
#include "test/support/compare.h"
#include "test/support/reference_model.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::DType;
using ratel::ModelPattern;
using ratel::RatPlusConfig;
using ratel::Recurrence;
using ratel::Tensor;

namespace {

constexpr RatPlusConfig kSmall{.vocab_size = 19, .layers = 2, .channels = 8, .heads = 2};
constexpr int64_t kEos = 18;
constexpr size_t kC = 8;  // its channels

/// A model whose weights are large enough for every path to show.
struct Model {
  ratel::nn::ParamStore store;
  ratel::RatPlus model;
  explicit Model(const RatPlusConfig& config = kSmall, DType dtype = DType::f64)
      : store(dtype, 1), model(ratel::nn::Scope(store), config) {
    std::vector<ratel::NamedTensor> weights;
    uint64_t seed = 0;
    for (const auto& [name, p] : store.parameters()) weights.push_back({name, test::randn(p.shape(), ++seed)});
    store.load(weights, "random");
  }
  /// Puts `value(channel)` into all of a channel's row of the gate, in both layers.
  template <class Value>
  void set_gate_rows(const Value& value) const {
    for (const char* name : {"layers.0.mixer.in_proj.weight", "layers.1.mixer.in_proj.weight"}) {
      const Tensor& weight = store.at(name);
      auto numbers = ratel::to_vector<double>(weight);
      for (size_t c = 0; c < kC; ++c)
        for (size_t i = 0; i < kC; ++i) numbers[(4 * kC + c) * kC + i] = value(c);
      weights_with(name, ratel::from_vector(numbers, weight.shape()));
    }
  }
  void weights_with(const std::string& changed, const Tensor& value) const {
    std::vector<ratel::NamedTensor> weights;
    for (const auto& [name, p] : store.parameters()) weights.push_back({name, name == changed ? value : p});
    store.load(weights, "test");
  }
};

/// Batches of random windows of T tokens, with and without end-of-text among them.
std::vector<train::Batch> batches_of(const std::vector<int64_t>& rows, int64_t T, uint64_t seed = 5) {
  ratel::Rng rng(seed);
  std::vector<train::Batch> batches;
  for (const int64_t B : rows) {
    std::vector<std::vector<int64_t>> windows(static_cast<size_t>(B));
    for (auto& window : windows)
      for (int64_t t = 0; t <= T; ++t) window.push_back(static_cast<int64_t>(rng.below(19)));
    batches.push_back(train::batch_of(windows, kEos));
  }
  return batches;
}

/// Sums over tokens, then means.
struct ByHand {
  std::vector<double> gate = std::vector<double>(kC), closed = gate, kept = gate;
};

/// The gates of a layer that x (B, T, C) enters, from loops over numbers.
void add_gates(const test::Weights& weights, const std::string& prefix, const Tensor& x, size_t span, ByHand& sums) {
  const auto values = ratel::to_vector<double>(x);
  const auto scale = ratel::to_vector<double>(weights.at(prefix + "mixer.norm.weight"));
  const auto rows = ratel::to_vector<double>(weights.at(prefix + "mixer.in_proj.weight"));
  const auto T = static_cast<size_t>(x.dim(1));
  std::vector<double> product(kC);
  for (size_t at = 0; at < values.size() / kC; ++at) {
    const double* token = values.data() + at * kC;
    const double squares = std::inner_product(token, token + kC, token, 0.0);
    const double norm = 1 / std::sqrt(squares / static_cast<double>(kC) + 1e-6);
    const size_t t = at % T;
    for (size_t c = 0; c < kC; ++c) {
      double z = 0;
      for (size_t i = 0; i < kC; ++i) z += rows[(4 * kC + c) * kC + i] * token[i] * norm * scale[i];
      const double g = 1 / (1 + std::exp(-z));
      sums.gate[c] += g;
      sums.closed[c] += 1 - g;
      product[c] = (t % span == 0 ? 1 : product[c]) * g;
      if ((t + 1) % span == 0) sums.kept[c] += product[c];
    }
  }
}

/// The same of every layer, what enters it being that of the references of the ops.
std::vector<ByHand> gates_by_hand(const Model& m, const std::vector<train::Batch>& batches, const ModelPattern& pattern,
                                  size_t span) {
  test::Weights weights;
  for (const auto& [name, p] : m.store.parameters()) weights[name] = ratel::detach(p);
  const auto table = ratel::to_vector<double>(weights.at("embedding.weight"));
  std::vector<ByHand> result(2);
  int64_t tokens = 0, windows = 0;
  for (const train::Batch& batch : batches) {
    const int64_t B = batch.tokens.dim(0), T = batch.tokens.dim(1);
    tokens += B * T;
    windows += B * (T / static_cast<int64_t>(span));
    std::vector<double> embedded;
    for (const auto id : ratel::to_vector<int64_t>(batch.tokens)) {
      const auto row = table.begin() + id * static_cast<int64_t>(kC);
      embedded.insert(embedded.end(), row, row + kC);
    }
    Tensor x = ratel::from_vector(embedded, {B, T, 8});
    for (int64_t layer = 0; layer < 2; ++layer) {
      const std::string prefix = "layers." + std::to_string(layer) + ".";
      add_gates(weights, prefix, x, span, result[static_cast<size_t>(layer)]);
      x = test::reference_block(x, weights, prefix, 2, pattern.of_layer(layer, 2), Recurrence::gated);
    }
  }
  for (ByHand& layer : result)
    for (size_t c = 0; c < kC; ++c) {
      layer.gate[c] /= static_cast<double>(tokens);
      layer.closed[c] /= static_cast<double>(tokens);
      layer.kept[c] /= static_cast<double>(windows);
    }
  return result;
}

void check_near(const std::vector<double>& found, const std::vector<double>& expected, double tolerance,
                const std::string& what) {
  const auto n = static_cast<int64_t>(expected.size());
  BOOST_REQUIRE(found.size() == expected.size());
  test::check_close(ratel::from_vector(found, {n}), ratel::from_vector(expected, {n}), tolerance, what);
}

double norm_of(const std::vector<double>& values, size_t begin, size_t end) {
  double squares = 0;
  for (size_t i = begin; i < end; ++i) squares += values[i] * values[i];
  return std::sqrt(squares);
}

}  // namespace

BOOST_AUTO_TEST_CASE(equals_a_computation_by_hand) {
  const Model m;
  const auto batches = batches_of({3, 2}, 11);  // windows of 4: the last 3 tokens are in none
  for (const auto& pattern : {ModelPattern{}, ModelPattern::uniform({4, 1, 1})}) {
    const auto found = train::measure_gates(m.model, batches, {.pattern = pattern, .span = 4});
    BOOST_TEST(found.complete);
    BOOST_TEST(found.tokens == 55);
    const auto expected = gates_by_hand(m, batches, pattern, 4);
    BOOST_REQUIRE(found.layers.size() == 2U);
    for (size_t layer = 0; layer < 2; ++layer) {
      const auto& one = found.layers[layer];
      check_near(one.gate, expected[layer].gate, 1e-12, "gate");
      check_near(one.kept, expected[layer].kept, 1e-12, "kept");
      std::vector<double> time_constant;
      for (const double closed : expected[layer].closed) time_constant.push_back(1 / closed);
      check_near(one.time_constant, time_constant, 1e-12, "time constant");
      BOOST_TEST(train::carrying_channels(one) ==
                 std::ranges::count_if(expected[layer].kept, [](double kept) { return kept >= std::exp(-1.0); }));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_gradient_is_that_of_the_mean_over_all_labels) {
  const Model m;
  // The labels that count differ from batch to batch; one batch of all the windows has the mean over all of them.
  const auto parts = batches_of({1, 2, 4}, 9), whole = [&] {
    std::vector<int64_t> tokens, labels;
    for (const auto& part : parts) {
      for (const auto id : ratel::to_vector<int64_t>(part.tokens)) tokens.push_back(id);
      for (const auto id : ratel::to_vector<int64_t>(part.labels)) labels.push_back(id);
    }
    return std::vector{train::Batch{ratel::from_vector(tokens, {7, 9}), ratel::from_vector(labels, {7, 9}), 1}};
  }();
  const ModelPattern pattern = ModelPattern::uniform({4});
  const auto found = train::measure_gates(m.model, parts, {.pattern = pattern, .span = 4});
  for (const auto& [name, p] : m.store.parameters()) BOOST_TEST(!ratel::grad(p).defined(), name);

  const Tensor loss = m.model.loss(whole[0].tokens, whole[0].labels, pattern);
  backward(loss);
  BOOST_TEST(std::abs(found.loss - loss.item()) <= 1e-12 * loss.item());
  for (size_t layer = 0; layer < 2; ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    double squares = 0;
    for (const auto& [name, p] : m.store.parameters())
      if (name.starts_with(prefix))
        for (const double value : ratel::to_vector<double>(ratel::grad(p))) squares += value * value;
    const auto in_proj = ratel::to_vector<double>(ratel::grad(m.store.at(prefix + "mixer.in_proj.weight")));
    const double of_gate = norm_of(in_proj, 4 * kC * kC, 5 * kC * kC), of_layer = std::sqrt(squares);
    BOOST_REQUIRE(found.layers[layer].gradient.has_value());
    BOOST_TEST(std::abs(found.layers[layer].gradient->of_gate - of_gate) <= 1e-12 * of_gate);
    BOOST_TEST(std::abs(found.layers[layer].gradient->of_layer - of_layer) <= 1e-12 * of_layer);
    BOOST_TEST(std::abs(found.layers[layer].gradient->share() - of_gate / of_layer) <= 1e-12);
  }
  // Gradients that were there are not counted, and do not stay.
  const auto again = train::measure_gates(m.model, parts, {.pattern = pattern, .span = 4});
  BOOST_TEST(again.layers[1].gradient->of_gate == found.layers[1].gradient->of_gate);
  for (const auto& [name, p] : m.store.parameters()) BOOST_TEST(!ratel::grad(p).defined(), name);
}

BOOST_AUTO_TEST_CASE(weights_of_zero_are_gates_of_one_half) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Model m(kSmall, dtype);
    m.set_gate_rows([](size_t) { return 0; });
    const auto batches = batches_of({2}, 64);
    for (const auto& layer : train::measure_gates(m.model, batches, {.pattern = {}}).layers) {
      check_near(layer.gate, std::vector<double>(8, 0.5), 0, "gate");
      check_near(layer.time_constant, std::vector<double>(8, 2), 0, "time constant");
      check_near(layer.kept, std::vector<double>(8, std::exp2(-64)), 1e-5, "kept");
      BOOST_TEST(train::carrying_channels(layer) == 0);
      BOOST_TEST(layer.gradient->share() > 0);
    }
    for (const auto& layer : train::measure_gates(m.model, batches, {.pattern = {}, .span = 1}).layers)
      BOOST_TEST(train::carrying_channels(layer) == 8);  // 1/2 is more than 1/e
  }
}

BOOST_AUTO_TEST_CASE(gates_of_0_and_1_give_finite_numbers) {
  const Model m(kSmall, DType::f32);
  m.weights_with("embedding.weight", ratel::ones({19, 8}));
  m.weights_with("layers.0.mixer.norm.weight", ratel::ones({8}));
  m.set_gate_rows([](size_t c) { return c < 3 ? 1e4 : c < 6 ? -1e4 : 2.5; });  // z = 8 times that
  const auto found = train::measure_gates(m.model, batches_of({1}, 128), {.pattern = {}});
  const auto& layer = found.layers[0];
  const double rest = std::exp(20.0);  // 1 / (1 - g) = 1 + e^z, where g rounds to 1 in f32
  check_near(layer.gate, {1, 1, 1, 0, 0, 0, 1, 1}, 1e-6, "gate");
  check_near(layer.kept, {1, 1, 1, 0, 0, 0, 1, 1}, 1e-6, "kept");
  const double most = train::kLongestTimeConstant;
  check_near({layer.time_constant.begin(), layer.time_constant.begin() + 6}, {most, most, most, 1, 1, 1}, 1e-6, "long");
  check_near({layer.time_constant.begin() + 6, layer.time_constant.end()}, {1 + rest, 1 + rest}, 1e-4, "time constant");
  BOOST_TEST(train::carrying_channels(layer) == 5);
  for (const auto& each : found.layers)
    for (const auto* values : {&each.gate, &each.time_constant, &each.kept})
      for (const double value : *values) BOOST_TEST(std::isfinite(value));
}

BOOST_AUTO_TEST_CASE(top_k_blocks_have_no_gradient) {
  const Model m;
  const ModelPattern blocks = ModelPattern::uniform({.dilation = 2, .top_blocks = 100});  // dense
  const auto batches = batches_of({2}, 8);
  const auto found = train::measure_gates(m.model, batches, {.pattern = blocks, .span = 2}),
             dense = train::measure_gates(m.model, batches, {.pattern = {}, .span = 2});
  BOOST_TEST(std::abs(found.loss - dense.loss) <= 1e-12 * dense.loss);
  for (size_t layer = 0; layer < 2; ++layer) {
    BOOST_TEST(!found.layers[layer].gradient.has_value());
    check_near(found.layers[layer].gate, dense.layers[layer].gate, 1e-12, "gate");
  }
}

BOOST_AUTO_TEST_CASE(it_stops_between_batches_and_reports_progress) {
  const Model m;
  const auto batches = batches_of({2, 1, 1}, 8);
  int polls = 0;
  std::vector<int64_t> done;
  const auto found = train::measure_gates(m.model, batches,
                                          {.pattern = {},
                                           .span = 8,
                                           .stop = [&] { return ++polls > 2; },
                                           .progress =
                                               [&](int64_t now, int64_t total) {
                                                 done.push_back(now);
                                                 BOOST_TEST(total == 32);
                                               }});
  BOOST_TEST(!found.complete);
  BOOST_TEST(found.layers.empty());
  BOOST_TEST(done == (std::vector<int64_t>{16, 24}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Model m;
  const auto measure = [&](const std::vector<train::Batch>& batches, const train::GateOptions& options) {
    return [&m, batches, options] { train::measure_gates(m.model, batches, options); };
  };
  test::check_error(measure({}, {.pattern = {}}), "expected tokens, found none");
  test::check_error(measure(batches_of({1}, 63), {.pattern = {}}), "at least 64 tokens");
  test::check_error(measure(batches_of({1}, 64), {.pattern = {}, .span = 0}), "span of at least 1, found 0");
  auto mixed = batches_of({1}, 64);
  mixed.push_back(batches_of({1}, 65).front());
  test::check_error(measure(mixed, {.pattern = {}}), "windows of one length, found 65 beside 64");
  const std::vector<std::vector<int64_t>> ends{std::vector<int64_t>(65, kEos)};
  test::check_error(measure({train::batch_of(ends, kEos)}, {.pattern = {}}), "a label that counts, found none");
  test::check_error(measure(batches_of({1}, 64), {.pattern = {{{{}}, {{}}, {{}}}}}), "pattern");

  RatPlusConfig attention = kSmall;
  attention.recurrence = Recurrence::none;
  const Model none(attention);
  test::check_error([&] { train::measure_gates(none.model, batches_of({1}, 64), {.pattern = {}}); }, "attention only");

  m.set_gate_rows([](size_t) { return std::nan(""); });
  test::check_error(measure(batches_of({1}, 64), {.pattern = {}}), "layer 0 is not finite");
}

BOOST_AUTO_TEST_CASE(sampled_text_is_what_the_model_says) {
  const Model m;
  train::SampleOptions options{.pattern = {}, .seq_len = 12, .windows = 5, .batch_size = 2, .eos = kEos};
  int64_t last = 0;
  options.progress = [&](int64_t done, int64_t total) {
    BOOST_TEST(done == last + 1);
    BOOST_TEST(total == 60);
    last = done;
  };
  const auto batches = train::sampled_batches(m.model, options);
  BOOST_TEST(last == 60);
  BOOST_REQUIRE(batches.size() == 3U);
  std::vector<int64_t> tokens, labels;
  for (const auto& batch : batches) {
    BOOST_TEST(batch.tokens.dim(1) == 12);
    for (const auto id : ratel::to_vector<int64_t>(batch.tokens)) tokens.push_back(id);
    for (const auto id : ratel::to_vector<int64_t>(batch.labels)) labels.push_back(id);
  }
  BOOST_REQUIRE(tokens.size() == 60U);
  bool differ = false;
  for (size_t at = 0; at < 60; ++at) {
    if (at % 12 == 0) BOOST_TEST(tokens[at] == kEos);
    if (tokens[at] == kEos)
      BOOST_TEST(labels[at] == ratel::kIgnoreIndex);
    else if (at % 12 < 11)
      BOOST_TEST(labels[at] == tokens[at + 1]);
    differ |= tokens[at] != tokens[at % 12];
  }
  BOOST_TEST(differ);  // each window is a sample of its own
  // A batch is said at a time: a stop after the first leaves the others unsaid.
  int64_t said = 0;
  options.progress = [&](int64_t done, int64_t) { said = done; };
  options.stop = [&] { return said >= 24; };
  BOOST_TEST(train::sampled_batches(m.model, options).size() == 1U);
  BOOST_TEST(said == 24);
  options.stop = {};
  options.batch_size = 5;
  options.progress = {};
  const auto together = train::sampled_batches(m.model, options);
  BOOST_REQUIRE(together.size() == 1U);
  BOOST_TEST(ratel::to_vector<int64_t>(together[0].tokens) == tokens, boost::test_tools::per_element());
  options.seed = 1;
  BOOST_TEST(ratel::to_vector<int64_t>(train::sampled_batches(m.model, options)[0].tokens) != tokens);
  options.eos = -1;
  test::check_error([&] { train::sampled_batches(m.model, options); }, "end-of-text below 19, found -1");
}

BOOST_AUTO_TEST_CASE(quantiles_lie_between_neighbours) {
  const std::vector<double> values{4, 1, 3, 2};
  BOOST_TEST(train::quantile(values, 0) == 1);
  BOOST_TEST(train::quantile(values, 0.5) == 2.5);
  BOOST_TEST(train::quantile(values, 0.9) == 3.7, boost::test_tools::tolerance(1e-12));
  BOOST_TEST(train::quantile(values, 1) == 4);
  BOOST_TEST(train::quantile({7}, 0.3) == 7);
  test::check_error([] { train::quantile({}, 0.5); }, "found 0");
  test::check_error([&] { train::quantile(values, 1.5); }, "found 4 and 1.5");
}
