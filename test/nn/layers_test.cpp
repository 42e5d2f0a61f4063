#include "nn/layers.h"

#include "autograd/engine.h"
#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/unary.h"
#include "test/support/compare.h"
#include "test/support/gradcheck.h"
#include "test/support/reference_model.h"

using ratel::DType;
using ratel::HeadPatterns;
using ratel::Recurrence;
using ratel::Shape;
using ratel::Tensor;
using ratel::nn::ParamStore;
using ratel::nn::Scope;
namespace nn = ratel::nn;
namespace test = ratel::test;

namespace {

/// Weights large enough for every path to show.
ParamStore make_store(DType dtype = DType::f64) { return ParamStore(dtype, 11); }

std::vector<Tensor> random_weights(const ParamStore& store, uint64_t seed) {
  std::vector<Tensor> result;
  for (const auto& parameter : store.parameters()) result.push_back(test::randn(parameter.tensor.shape(), seed++));
  return result;
}

/// The block with other weights, in the order of its parameter store.
nn::RatPlusBlock with_weights(nn::RatPlusBlock block, std::span<const Tensor> weights) {
  block.mixer.norm.weight = weights[0];
  block.mixer.in_proj.weight = weights[1];
  block.mixer.out_proj.weight = weights[2];
  block.feed_forward.norm.weight = weights[3];
  block.feed_forward.fc1.weight = weights[4];
  block.feed_forward.fc2.weight = weights[5];
  return block;
}

constexpr int64_t kChannels = 8, kHeads = 2;

struct Case {
  const char* path;
  Recurrence recurrence;
  HeadPatterns patterns;
};

const Case kCases[] = {
    {"dense", Recurrence::gated, {{1, 0, 0}}},
    {"dilated", Recurrence::gated, {{4, 0, 0}}},
    {"a pattern for each head", Recurrence::gated, {{3, 2, 1}, {ratel::kNoDilatedKeys, 4, 2}}},
    {"attention only", Recurrence::none, {{4, 1, 0}}},
    {"attention only, a pattern for each head", Recurrence::none, {{1, 0, 0}, {5, 0, 1}}},
};

}  // namespace

BOOST_AUTO_TEST_CASE(linear) {
  ParamStore store = make_store();
  nn::Linear layer(Scope(store, "l"), 5, 7);
  BOOST_TEST(store.at("l.weight").shape() == Shape({7, 5}));
  const Tensor x = test::randn({2, 3, 5}, 1), weight = test::randn({7, 5}, 2);
  test::gradcheck(
      [&](const auto& in) {
        nn::Linear other = layer;
        other.weight = in[1];
        return other(in[0]);
      },
      {x, weight}, "linear");
  test::check_error([&] { layer(test::randn({2, 3, 4}, 1)); }, "fused_linear");
}

BOOST_AUTO_TEST_CASE(a_linear_with_a_bias_adds_it_before_the_activation) {
  ParamStore store = make_store();
  const nn::Linear layer(store / "l", 5, 7, {.bias = nn::Bias::yes, .init = nn::normal(1)});
  BOOST_TEST(store.at("l.bias").shape() == Shape({7}));
  BOOST_TEST(ratel::global_norm({store.at("l.weight")}) > 3);
  BOOST_TEST(ratel::global_norm({store.at("l.bias")}) == 0);
  const auto with = [&](const auto& in, bool branches) {
    nn::Linear other = layer;
    other.weight = in[1], other.bias = in[2];
    const ratel::LinearFusion fusion{.norm_weight = in[3], .activation = ratel::Activation::gelu};
    if (!branches) return other(in[0], {fusion.norm_weight, fusion.norm_eps, fusion.activation, in[4]});
    const auto [y, residual] = other.branch(in[0], fusion);
    return y + in[4] + sum(residual * residual);
  };
  const auto by_hand = [](const auto& in, bool branches) {
    const Tensor y = gelu(matmul_nt(rms_norm(in[0], in[3]), in[1]) + in[2]) + in[4];
    return branches ? y + sum(in[0] * in[0]) : y;
  };
  const std::vector<Tensor> inputs{test::randn({2, 3, 5}, 1), test::randn({7, 5}, 2), test::randn({7}, 3),
                                   test::randn({5}, 4), test::randn({2, 3, 7}, 5)};
  test::check_error(
      [&] {
        layer(inputs[0], {.residual = inputs[4] + test::randn({4, 2, 3, 7}, 6)});
      },
      "Linear: expected a residual of shape (2, 3, 7), found (4, 2, 3, 7)");
  for (const bool branches : {false, true}) {
    test::check_close(with(inputs, branches), by_hand(inputs, branches), 1e-14, "with a bias");
    test::gradcheck([&](const auto& in) { return with(in, branches); }, inputs, "with a bias");
  }
}

BOOST_AUTO_TEST_CASE(layer_norm) {
  ParamStore store = make_store();
  const nn::LayerNorm layer(store / "n", 6, 0.01);
  const auto with = [&](const auto& in) {
    nn::LayerNorm other = layer;
    other.weight = in[1], other.bias = in[2];
    return other(in[0]);
  };
  const auto by_hand = [](const auto& in) {
    const Tensor centred = in[0] - mean(in[0], {-1}, ratel::KeepDims::yes);
    const Tensor variance = mean(centred * centred, {-1}, ratel::KeepDims::yes);
    return centred / sqrt(variance + 0.01) * in[1] + in[2];
  };
  const std::vector<Tensor> inputs{test::randn({2, 3, 6}, 1) * 2 + 3, test::randn({6}, 2), test::randn({6}, 3)};
  test::check_close(with(inputs), by_hand(inputs), 1e-13, "layer norm");
  test::gradcheck(with, inputs, "layer norm");
  test::check_close(
      layer(inputs[0]),
      by_hand(std::vector<Tensor>{inputs[0], ratel::ones({6}, DType::f64), ratel::zeros({6}, DType::f64)}), 1e-13,
      "as it starts");
}

BOOST_AUTO_TEST_CASE(heads_divide_the_channels) {
  ParamStore store = make_store();
  for (const int64_t heads : {0, 3})
    test::check_error([&] { nn::RatPlusMixer(store / heads, {.channels = 8, .heads = heads}); },
                      "RatPlusMixer: expected heads that divide 8 channels, found " + std::to_string(heads));
}

BOOST_AUTO_TEST_CASE(an_embedding_serves_as_the_output_head) {
  ParamStore store = make_store();
  nn::Embedding layer(Scope(store, "e"), 6, 5);
  BOOST_TEST(store.at("e.weight").shape() == Shape({6, 5}));
  const Tensor ids = ratel::from_vector<int64_t>({0, 5, 2, 2}, {2, 2});
  BOOST_TEST(layer(ids).shape() == Shape({2, 2, 5}));
  test::gradcheck(
      [&](const auto& in) {
        nn::Embedding tied = layer;
        tied.weight = in[0];
        return tied.as_head(tied(ids));
      },
      {test::randn({6, 5}, 1)}, "tied embedding");
}

BOOST_AUTO_TEST_CASE(norm_and_feed_forward) {
  ParamStore store = make_store();
  nn::RmsNorm norm(Scope(store, "n"), 5, 1e-3);
  BOOST_TEST(ratel::to_vector<double>(store.at("n.weight")) == std::vector<double>(5, 1.0));
  test::gradcheck(
      [&](const auto& in) {
        nn::RmsNorm other = norm;
        other.weight = in[1];
        return other(in[0]);
      },
      {test::randn({2, 3, 5}, 1), test::randn({5}, 2)}, "norm");
  nn::FeedForward layer(Scope(store, "f"), 4);
  BOOST_TEST(store.at("f.fc1.weight").shape() == Shape({16, 4}));
  BOOST_TEST(store.at("f.fc2.weight").shape() == Shape({4, 16}));
  test::gradcheck(
      [&](const auto& in) {
        nn::FeedForward other = layer;
        other.norm.weight = in[1];
        other.fc1.weight = in[2];
        other.fc2.weight = in[3];
        return other(in[0]);
      },
      {test::randn({2, 3, 4}, 1), test::randn({4}, 2), test::randn({16, 4}, 3), test::randn({4, 16}, 4)},
      "feed-forward");
}

BOOST_AUTO_TEST_CASE(a_block_names_its_parameters) {
  for (const Recurrence recurrence : {Recurrence::gated, Recurrence::none}) {
    ParamStore store = make_store();
    const nn::RatPlusBlock block(Scope(store) / "layers" / 3, {kChannels, kHeads, recurrence});
    const int64_t parts = recurrence == Recurrence::gated ? 5 : 4;
    const std::vector<nn::NamedShape> expected{{"layers.3.mixer.norm.weight", {kChannels}},
                                               {"layers.3.mixer.in_proj.weight", {parts * kChannels, kChannels}},
                                               {"layers.3.mixer.out_proj.weight", {kChannels, kChannels}},
                                               {"layers.3.feed_forward.norm.weight", {kChannels}},
                                               {"layers.3.feed_forward.fc1.weight", {4 * kChannels, kChannels}},
                                               {"layers.3.feed_forward.fc2.weight", {kChannels, 4 * kChannels}}};
    store.check_shapes(expected, "block");
    for (size_t i = 0; i < expected.size(); ++i) BOOST_TEST(store.parameters()[i].name == expected[i].name);
  }
}

BOOST_AUTO_TEST_CASE(copies_of_a_layer_share_its_parameters) {
  ParamStore store = make_store();
  const nn::RatPlusBlock block(Scope(store), {kChannels, kHeads});
  const nn::RatPlusBlock copy = block;
  BOOST_TEST(is_same_tensor(copy.mixer.in_proj.weight, store.at("mixer.in_proj.weight")));
}

BOOST_AUTO_TEST_CASE(gradients_of_a_whole_block) {
  for (const Case& c : kCases) {
    ParamStore store = make_store();
    const nn::RatPlusBlock block(Scope(store), {kChannels, kHeads, c.recurrence});
    std::vector<Tensor> inputs{test::randn({2, 9, kChannels}, 1)};
    for (const Tensor& weight : random_weights(store, 2)) inputs.push_back(weight);
    test::gradcheck([&](const auto& in) { return with_weights(block, std::span(in).subspan(1))(in[0], c.patterns); },
                    inputs, c.path, 12);
  }
}

BOOST_AUTO_TEST_CASE(a_block_equals_the_composed_references) {
  for (const Case& c : kCases) {
    ParamStore store = make_store();
    const nn::RatPlusBlock block(Scope(store, "block"), {kChannels, kHeads, c.recurrence});
    std::vector<Tensor> inputs{test::randn({2, 21, kChannels}, 1)};
    for (const Tensor& weight : random_weights(store, 2)) inputs.push_back(weight);
    const auto fused = [&](const auto& in) { return with_weights(block, std::span(in).subspan(1))(in[0], c.patterns); };
    const auto composed = [&](const auto& in) {
      test::Weights weights;
      for (size_t i = 1; i < in.size(); ++i) weights[store.parameters()[i - 1].name] = in[i];
      return test::reference_block(in[0], weights, "block.", kHeads, c.patterns, c.recurrence);
    };
    const auto ours = test::gradients(fused, inputs), exact = test::gradients(composed, inputs);
    test::check_close(ours.out, exact.out, 1e-11, c.path);
    for (size_t i = 0; i < inputs.size(); ++i)
      test::check_close(ours.grads[i], exact.grads[i], 1e-11, std::string(c.path) + ", gradient " + std::to_string(i));
  }
}

// The norm's backward adds the residual's gradient, and products add to what weights have gathered: the engine is left
// the weights of the two norms, and x.
BOOST_AUTO_TEST_CASE(a_block_leaves_the_engine_next_to_no_additions) {
  static int additions = 0;
  static constexpr ratel::GradientOps kCounting{
      [](const Tensor& a, const Tensor& b) { return ++additions, a + b; },
      [](const Tensor& into, const Tensor& b) { ++additions, add_into(into, b); },
      [](const Tensor& g, DType dtype) { return ratel::contiguous(to(g, dtype)); },
      [](const Tensor& g) { return ++additions, clone(g); }};  // a copy costs what an addition does
  ParamStore store = make_store();
  const nn::RatPlusBlock block(Scope(store), {kChannels, kHeads});
  for (const auto& parameter : store.parameters()) requires_grad(parameter.tensor);
  const Tensor x = requires_grad(test::randn({2, 9, kChannels}, 1)), g = test::randn({2, 9, kChannels}, 2);
  for (const int expected : {0, 3}) {
    const Tensor y = block(x, {{4, 0, 0}});
    additions = 0;
    run_backward({&y, 1}, {&g, 1}, ratel::Tape::consume, kCounting);
    BOOST_TEST(additions == expected);
  }
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  ParamStore store = make_store();
  const nn::RatPlusBlock block(Scope(store), {kChannels, kHeads});
  const Tensor x = test::randn({1, 3, kChannels}, 1);
  test::check_error([&] { block(x, {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}}); }, "recurrent_attention");
  test::check_error([&] { block(x, {{0, 0, 0}}); }, "recurrent_attention");
  test::check_error([&] { block(test::randn({1, 3, kChannels}, 1, DType::f32), {{}}); }, "fused_linear");
}
