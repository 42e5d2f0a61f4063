#include "models/rat_plus.h"

#include <cmath>
#include <limits>
#include <sstream>

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "ops/adamw.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/create.h"
#include "ops/cross_entropy.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::kNoDilatedKeys;
using ratel::ModelPattern;
using ratel::parse_model_pattern;
using ratel::Pattern;
using ratel::RatPlus;
using ratel::RatPlusConfig;
using ratel::Recurrence;
using ratel::Rng;
using ratel::Shape;
using ratel::simplified;
using ratel::Tensor;
using ratel::nn::ParamStore;
using ratel::nn::Scope;
using ratel::nn::Start;
namespace test = ratel::test;

namespace {

constexpr RatPlusConfig kSmall{23, 2, 16, 2};

Tensor random_tokens(int64_t B, int64_t T, int64_t V, uint64_t seed) {
  Rng rng(seed);
  return ratel::random_integers({B, T}, rng, V);
}

/// A model whose weights are large enough for every path to show.
struct Model {
  explicit Model(const RatPlusConfig& config, DType dtype = DType::f64) : store(dtype, 1), model(Scope(store), config) {
    std::vector<ratel::NamedTensor> weights;
    uint64_t seed = 10;
    for (const auto& [path, tensor] : store.parameters()) {
      Rng rng(seed++);
      weights.push_back({path, random_normal(tensor.shape(), rng, tensor.rank() == 1 ? 1 : 0, 0.2, dtype)});
    }
    store.load(weights, "random");
  }
  ParamStore store;
  RatPlus model;
};

Tensor logits_of(const Model& m, const Tensor& tokens, const ModelPattern& pattern) {
  const ratel::NoGrad no_grad;
  return m.model(tokens, pattern);
}

}  // namespace

BOOST_AUTO_TEST_CASE(presets_have_the_papers_sizes) {
  const std::vector<std::pair<const char*, double>> billions{{"1b", 1.5}, {"3b", 2.6}, {"7b", 7.6}};
  for (const auto& [name, expected] : billions)
    BOOST_TEST(std::abs(static_cast<double>(ratel::rat_plus_preset(name).parameter_count()) / 1e9 - expected) < 0.06);
  BOOST_TEST((ratel::rat_plus_preset("tiny") == RatPlusConfig{}));
  for (const char* name : {"tiny", "small", "1b", "3b", "7b"}) {
    const RatPlusConfig config = ratel::rat_plus_preset(name);
    config.validate();
    ParamStore shapes(DType::f32, 0, Start::shapes_only);
    const RatPlus model(Scope(shapes), config);
    BOOST_TEST(shapes.numel() == config.parameter_count());
  }
  RatPlusConfig baseline = ratel::rat_plus_preset("small");
  baseline.recurrence = Recurrence::none;
  ParamStore shapes(DType::f32, 0, Start::shapes_only);
  const RatPlus model(Scope(shapes), baseline);
  BOOST_TEST(shapes.numel() == baseline.parameter_count());
  test::check_error([] { (void)ratel::rat_plus_preset("2b"); }, "no preset \"2b\"; there are tiny, small, 1b, 3b, 7b");
}

BOOST_AUTO_TEST_CASE(configs_that_cannot_work_are_named) {
  const auto with = [](auto&& change) {
    RatPlusConfig config;
    change(config);
    return [config] {
      ParamStore store;
      const RatPlus model(Scope(store), config);
    };
  };
  test::check_error(with([](auto& c) { c.vocab_size = 0; }), "expected vocab_size between 1 and");
  test::check_error(with([](auto& c) { c.layers = 0; }), "expected layers between 1 and 10000, found 0");
  test::check_error(with([](auto& c) { c.layers = std::numeric_limits<int64_t>::max(); }), "expected layers");
  test::check_error(with([](auto& c) { c.channels = -2; }), "expected channels between 2 and");
  test::check_error(with([](auto& c) { c.heads = 0; }), "expected heads between 1 and 128, found 0");
  test::check_error(with([](auto& c) { c.heads = 3; }), "3 heads do not divide 128 channels into even widths");
  test::check_error(with([](auto& c) { c.heads = 128; }), "128 heads do not divide");
  test::check_error(with([](auto& c) { c.norm_eps = 0; }), "expected norm_eps above 0");
  test::check_error(with([](auto& c) { c.rope_base = 1; }), "expected rope_base above 1");
}

BOOST_AUTO_TEST_CASE(parameters_are_named_by_their_place) {
  ParamStore store;
  const RatPlus model(Scope(store), kSmall);
  BOOST_TEST(store.parameters().front().name == "embedding.weight");
  BOOST_TEST(store.parameters()[2].name == "layers.0.mixer.in_proj.weight");
  BOOST_TEST(store.at("layers.1.mixer.in_proj.weight").shape() == Shape({80, 16}));
  BOOST_TEST(store.parameters().back().name == "norm.weight");
  BOOST_TEST(store.parameters().size() == 14U);
}

BOOST_AUTO_TEST_CASE(patterns_of_a_command_line) {
  using Values = std::vector<int64_t>;
  const auto parse = [](const Values& D, const Values& W, const Values& S) { return parse_model_pattern(D, W, S, 3); };
  BOOST_TEST((parse({16}, {4}, {2}) == ModelPattern::uniform({16, 4, 2})));
  BOOST_TEST((parse({1, 4, -1}, {0}, {0, 1, 2}) == ModelPattern{{{{1, 0, 0}}, {{4, 0, 1}}, {{-1, 0, 2}}}}));
  test::check_error([&] { parse({}, {0}, {0}); }, "dilation: expected one value, or one for each of 3 layers; found 0");
  test::check_error(
      [&] {
        parse({1}, {0, 1}, {0});
      },
      "window: expected one value, or one for each of 3 layers; found 2");
  test::check_error([&] { parse({0}, {0}, {0}); }, "dilation: expected 1 or more, or -1 for no dilated keys, found 0");
  test::check_error([&] { parse({1}, {-1}, {0}); }, "window: expected 0 or more, found -1");
  test::check_error([&] { parse({1}, {0}, {0, -2, 0}); }, "initial: expected 0 or more, found -2");
  std::ostringstream text;
  text << ModelPattern{{{{1, 0, 0}}, {{4, 0, 1}, {2, 0, 0}}}};
  BOOST_TEST(text.str() == "D=1 W=0 S=0 | D=4 W=0 S=1, D=2 W=0 S=0");
}

BOOST_AUTO_TEST_CASE(patterns_must_fit_the_model) {
  const ModelPattern two{{{{}}, {{}}}}, two_heads{{{{}, {}}}};
  two.check_fits(kSmall);
  two_heads.check_fits(kSmall);
  test::check_error([&] { two.check_fits({23, 3, 16, 2}); }, "expected patterns for 1 or 3 layers, found 2");
  test::check_error([&] { two_heads.check_fits({23, 3, 24, 3}); }, "pattern of layer 0");
  test::check_error([&] { (void)two.of_layer(2, 2); }, "layer 2 of 2 does not exist");
  const Model m(kSmall);
  const Tensor tokens = random_tokens(1, 3, 23, 1);
  test::check_error(
      [&] {
        logits_of(m, tokens, ModelPattern{{{{}}, {{}}, {{}}}});
      },
      "expected patterns for 1 or 2 layers");
  test::check_error([&] { logits_of(m, random_tokens(1, 0, 23, 1), {}); }, "expected tokens (B, T) with T >= 1");
  test::check_error([&] { logits_of(m, ratel::arange(3), {}); }, "expected tokens (B, T) with T >= 1, found (3)");
}

BOOST_AUTO_TEST_CASE(cache_sizes) {
  // A layer keeps 2 heads of 8 channels a token, of keys and of values, and 2 x 16 floats of recurrent state.
  const int64_t layers = kSmall.layers, state = layers * 2 * 16 * 4;
  BOOST_TEST(kv_cache_bytes(kSmall, {}, 100, DType::f32) == layers * 2 * 100 * 16 * 4 + state);
  BOOST_TEST(kv_cache_bytes(kSmall, ModelPattern::uniform({10, 0, 0}), 100, DType::bf16) ==
             layers * 2 * 10 * 16 * 2 + state);
  // Head 0 keeps the 4 keys that a next query sees in its window, head 1 all 100.
  BOOST_TEST(kv_cache_bytes(kSmall, {{{{kNoDilatedKeys, 4, 0}, {}}}}, 100, DType::f32) ==
             layers * 2 * (4 + 100) * 8 * 4 + state);
  RatPlusConfig baseline = kSmall;
  baseline.recurrence = Recurrence::none;
  BOOST_TEST(kv_cache_bytes(baseline, {}, 100, DType::f32) == layers * 2 * 100 * 16 * 4);
  test::check_error(
      [] {
        kv_cache_bytes(kSmall, {{{{}}, {{}}, {{}}}}, 100, DType::f32);
      },
      "expected patterns for 1 or 2 layers");
}

BOOST_AUTO_TEST_CASE(gradients_of_the_whole_model) {
  const RatPlusConfig config{7, 2, 8, 2};
  const Tensor tokens = random_tokens(2, 6, 7, 1), labels = random_tokens(2, 6, 7, 2);
  const ModelPattern pattern{{{{3, 1, 1}}, {{1, 0, 0}, {kNoDilatedKeys, 2, 1}}}};
  ParamStore shapes(DType::f64, 0, Start::shapes_only);
  const RatPlus unused(Scope(shapes), config);
  std::vector<Tensor> inputs;
  for (const auto& parameter : shapes.parameters())
    inputs.push_back(test::randn(parameter.tensor.shape(), inputs.size()) * 0.5);
  test::gradcheck(
      [&](const auto& in) {
        size_t next = 0;
        ParamStore store(DType::f64);
        RatPlus model(Scope(store), config);
        model.embedding.weight = in[next++];
        for (auto& block : model.blocks)
          for (Tensor* weight :
               {&block.mixer.norm.weight, &block.mixer.in_proj.weight, &block.mixer.out_proj.weight,
                &block.feed_forward.norm.weight, &block.feed_forward.fc1.weight, &block.feed_forward.fc2.weight})
            *weight = in[next++];
        model.norm.weight = in[next++];
        return model.loss(tokens, labels, pattern);
      },
      inputs, "model", 6);
}

BOOST_AUTO_TEST_CASE(dense_equals_a_window_over_everything) {
  const Model m(kSmall);
  const Tensor tokens = random_tokens(2, 33, 23, 1);
  const Tensor dense = logits_of(m, tokens, {});
  for (const Pattern& pattern : {Pattern{kNoDilatedKeys, 33, 0}, Pattern{kNoDilatedKeys, 0, 33}, Pattern{5, 40, 2}})
    test::check_close(logits_of(m, tokens, ModelPattern::uniform(pattern)), dense, 1e-12, "all keys");
  BOOST_TEST(test::relative_error(logits_of(m, tokens, ModelPattern::uniform({8, 0, 0})), dense) > 1e-3);
}

BOOST_AUTO_TEST_CASE(enough_top_blocks_equal_dense) {
  const Model m(kSmall);
  const Tensor tokens = random_tokens(2, 33, 23, 1);
  const Tensor dense = logits_of(m, tokens, {});
  for (const ratel::BlockScore score : {ratel::BlockScore::last, ratel::BlockScore::mean, ratel::BlockScore::minmax}) {
    const auto top = [&](int64_t blocks) {
      return ModelPattern::uniform({.dilation = 4, .top_blocks = blocks, .score = score});
    };
    test::check_close(logits_of(m, tokens, top(9)), dense, 1e-12, "all 9 blocks");
    BOOST_TEST(test::relative_error(logits_of(m, tokens, top(3)), dense) > 1e-3);
  }
}

BOOST_AUTO_TEST_CASE(one_pattern_a_layer_or_a_head_is_the_same_as_one_for_all) {
  const Model m(kSmall);
  const Tensor tokens = random_tokens(2, 21, 23, 1);
  const Tensor expected = logits_of(m, tokens, ModelPattern::uniform({4, 1, 2}));
  test::check_identical(logits_of(m, tokens, {{{{4, 1, 2}}, {{4, 1, 2}}}}), expected, "layers");
  test::check_identical(logits_of(m, tokens, {{{{4, 1, 2}, {4, 1, 2}}}}), expected, "heads");
}

BOOST_AUTO_TEST_CASE(a_later_token_changes_no_earlier_logit) {
  for (const Recurrence recurrence : {Recurrence::gated, Recurrence::none})
    for (const Pattern& pattern : {Pattern{}, Pattern{4, 0, 0}, Pattern{8, 3, 2}, Pattern{kNoDilatedKeys, 4, 1}}) {
      RatPlusConfig config = kSmall;
      config.recurrence = recurrence;
      const Model m(config);
      constexpr int64_t kT = 20, kChanged = 11;
      const Tensor tokens = random_tokens(1, kT, 23, 1), other = random_tokens(1, kT, 23, 1);
      other.data<int64_t>()[kChanged] = (other.data<int64_t>()[kChanged] + 1) % 23;
      const Tensor before = logits_of(m, tokens, ModelPattern::uniform(pattern));
      const Tensor after = logits_of(m, other, ModelPattern::uniform(pattern));
      test::check_identical(slice(before, 1, 0, kChanged), slice(after, 1, 0, kChanged), "before the change");
      BOOST_TEST(test::relative_error(slice(before, 1, kChanged, kChanged + 1),
                                      slice(after, 1, kChanged, kChanged + 1)) > 1e-3);
    }
}

BOOST_AUTO_TEST_CASE(without_recurrence_a_dilated_query_sees_only_its_own_key) {
  // Attention alone at D=16: query 5 sees no dilated key and no neighbour, so that token 3 cannot reach it. The
  // recurrence carries it there.
  for (const Recurrence recurrence : {Recurrence::gated, Recurrence::none}) {
    RatPlusConfig config = kSmall;
    config.recurrence = recurrence;
    const Model m(config);
    const Tensor tokens = random_tokens(1, 6, 23, 1), other = random_tokens(1, 6, 23, 1);
    other.data<int64_t>()[3] = (other.data<int64_t>()[3] + 1) % 23;
    const auto last = [&](const Tensor& text) {
      return slice(logits_of(m, text, ModelPattern::uniform({16, 0, 0})), 1, 5, 6);
    };
    BOOST_TEST((test::relative_error(last(tokens), last(other)) == 0) == (recurrence == Recurrence::none));
  }
}

BOOST_AUTO_TEST_CASE(logits_do_not_depend_on_the_number_of_threads) {
  const Model m({257, 2, 64, 4}, DType::f32);
  const Tensor tokens = random_tokens(2, 100, 257, 1);
  test::check_thread_independent([&] { return logits_of(m, tokens, ModelPattern::uniform({8, 4, 2})); }, "logits");
}

BOOST_AUTO_TEST_CASE(integer_dtypes_of_tokens_make_no_difference) {
  const Model m(kSmall);
  const Tensor tokens = random_tokens(2, 9, 23, 1);
  const Tensor narrow = ratel::from_vector(ratel::to_vector<uint16_t>(tokens), {2, 9});
  test::check_identical(logits_of(m, narrow, {}), logits_of(m, tokens, {}), "u16 tokens");
}

BOOST_AUTO_TEST_CASE(one_batch_is_learnt_by_heart) {
  for (const Recurrence recurrence : {Recurrence::gated, Recurrence::none}) {
    ParamStore store(DType::f32, 3);
    const RatPlus model(Scope(store), {30, 2, 32, 2, recurrence});
    const Tensor text = random_tokens(2, 25, 30, 4);
    const Tensor tokens = slice(text, 1, 0, 24), labels = slice(text, 1, 1, 25);
    std::vector<std::pair<Tensor, Tensor>> moments;
    for (const auto& [path, tensor] : store.parameters())
      moments.emplace_back(ratel::zeros(tensor.shape()), ratel::zeros(tensor.shape()));
    double first = 0, last = 0;
    for (int64_t step = 1; step <= 120; ++step) {
      const Tensor loss = model.loss(tokens, labels, ModelPattern::uniform({8, 2, 1}));
      last = loss.item();
      if (step == 1) first = last;
      store.zero_grad();
      backward(loss);
      for (size_t i = 0; i < moments.size(); ++i) {
        const Tensor& parameter = store.parameters()[i].tensor;
        adamw(parameter, grad(parameter), moments[i].first, moments[i].second, {0.01, 0.9, 0.95, 1e-8, 0, step});
      }
    }
    BOOST_TEST(std::abs(first - std::log(30.0)) < 0.5);
    BOOST_TEST(last < 0.02);
  }
}

// Few rows without a gradient are one kernel of fused_linear, which rounds otherwise: not where they are run again.
BOOST_AUTO_TEST_CASE(blocks_computed_again_give_the_same_bits) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t T : {1, 16, 17}) {
      ParamStore store(dtype, 1);
      const RatPlus model(Scope(store), kSmall);
      const Tensor tokens = random_tokens(1, T, 23, 2), labels = random_tokens(1, T, 23, 3);
      std::vector<Tensor> losses, grads;
      for (const auto recompute : {ratel::Recompute::nothing, ratel::Recompute::blocks}) {
        losses.push_back(model.loss(tokens, labels, {}, recompute));
        backward(losses.back());
        for (const auto& [name, parameter] : store.parameters()) grads.push_back(grad(parameter));
        store.zero_grad();
      }
      test::check_identical(detach(losses[1]), detach(losses[0]), "loss");
      const size_t count = store.parameters().size();
      for (size_t i = 0; i < count; ++i) test::check_identical(grads[count + i], grads[i], store.parameters()[i].name);
    }
}

BOOST_AUTO_TEST_CASE(a_simplified_pattern_says_what_is_alike_once) {
  const Pattern a{4, 0, 0}, b{8, 2, 0};
  BOOST_TEST((simplified({{{a, a}, {a}, {a, a}}}) == ModelPattern::uniform(a)));
  BOOST_TEST((simplified({{{a, a}, {b}}}) == ModelPattern{{{a}, {b}}}));
  BOOST_TEST((simplified({{{a, b}, {a, b}}}) == ModelPattern{{{a, b}}}));
  BOOST_TEST((simplified({{{a, b}, {b, a}}}) == ModelPattern{{{a, b}, {b, a}}}));
  BOOST_TEST((simplified({{}}) == ModelPattern{{}}));
}
