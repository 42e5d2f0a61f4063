#include "models/generate.h"

#include <algorithm>

#include "autograd/grad_mode.h"
#include "ops/create.h"
#include "test/support/compare.h"

using ratel::generate;
using ratel::GenerationOptions;
using ratel::ModelPattern;
using ratel::Next;
using ratel::RatPlus;
using ratel::SamplingOptions;
using ratel::Tensor;
using ratel::nn::ParamStore;
using ratel::nn::Scope;
namespace test = ratel::test;

namespace {

using Ids = std::vector<int64_t>;

constexpr int64_t kWords = 23;

/// A model with large random weights: its texts are varied.
const RatPlus& random_model() {
  static const RatPlus model = [] {
    ParamStore store(ratel::DType::f32, 1);
    RatPlus result(Scope(store), {kWords, 2, 16, 2});
    std::vector<ratel::nn::NamedTensor> weights;
    for (const auto& [path, tensor] : store.parameters())
      weights.push_back({path, tensor.rank() == 1 ? tensor : test::randn(tensor.shape(), weights.size())});
    store.load(weights, "random");
    return result;
  }();
  return model;
}

const Ids kPrompt{3, 1, 4, 1, 5};
const ModelPattern kPattern = ModelPattern::uniform({4, 1, 1});

GenerationOptions options(int64_t count, const SamplingOptions& sampling = {}) { return {count, {}, sampling}; }

Ids continued(const GenerationOptions& how, const Ids& prompt = kPrompt) {
  return generate(random_model(), prompt, kPattern, how);
}

}  // namespace

BOOST_AUTO_TEST_CASE(greedy_takes_the_largest_logit_of_every_step) {
  const Ids ids = continued(options(12));
  BOOST_TEST(ids.size() == 12U);
  Ids text = kPrompt;
  const ratel::NoGrad no_grad;
  for (const int64_t id : ids) {
    const auto T = static_cast<int64_t>(text.size());
    const auto logits = ratel::to_vector<double>(random_model()(ratel::from_vector(text, {1, T}), kPattern));
    const auto last = logits.end() - kWords;
    BOOST_TEST(id == std::max_element(last, logits.end()) - last);
    text.push_back(id);
  }
  BOOST_TEST((continued(options(12)) == ids));
}

BOOST_AUTO_TEST_CASE(one_candidate_is_greedy) {
  const Ids greedy = continued(options(12));
  BOOST_TEST((continued(options(12, {.temperature = 1, .top_k = 1})) == greedy));
  BOOST_TEST((continued(options(12, {.temperature = 1, .top_p = 1e-9})) == greedy));
  BOOST_TEST((continued(options(12, {.temperature = 1e-6})) == greedy));
}

BOOST_AUTO_TEST_CASE(a_seed_fixes_the_text) {
  const Ids ids = continued(options(30, {.temperature = 5, .seed = 3}));
  BOOST_TEST((continued(options(30, {.temperature = 5, .seed = 3})) == ids));
  BOOST_TEST((continued(options(30, {.temperature = 5, .seed = 4})) != ids));
  const Ids shorter = continued(options(10, {.temperature = 5, .seed = 3}));
  BOOST_TEST((Ids(ids.begin(), ids.begin() + 10) == shorter));
  for (const int64_t id : ids) BOOST_TEST((id >= 0 && id < kWords));
}

BOOST_AUTO_TEST_CASE(a_prompt_of_one_token) {
  for (int64_t token = 0; token < kWords; ++token) BOOST_TEST(continued(options(3), {token}).size() == 3U);
}

BOOST_AUTO_TEST_CASE(the_text_ends_at_eos) {
  const Ids ids = continued(options(12));
  GenerationOptions how = options(12);
  how.eos = ids[4];
  const auto first = static_cast<size_t>(std::find(ids.begin(), ids.end(), ids[4]) - ids.begin());
  const Ids ended = continued(how);
  BOOST_TEST((ended == Ids(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(first) + 1)));
}

BOOST_AUTO_TEST_CASE(the_callback_sees_every_token_and_stops) {
  const Ids ids = continued(options(12));
  Ids seen;
  const auto watch = [&](size_t most) {
    return [&seen, most](int64_t token) {
      seen.push_back(token);
      return seen.size() == most ? Next::stop : Next::go_on;
    };
  };
  BOOST_TEST((generate(random_model(), kPrompt, kPattern, options(12), watch(100)) == ids));
  BOOST_TEST((seen == ids));
  seen.clear();
  BOOST_TEST((generate(random_model(), kPrompt, kPattern, options(12), watch(5)) == seen));
  BOOST_TEST((seen == Ids(ids.begin(), ids.begin() + 5)));
}

BOOST_AUTO_TEST_CASE(the_pattern_is_of_the_call) {
  // The third word of the prompt is out of sight at D=-1, W=0 but for the recurrence: other numbers, other texts.
  const Ids dense = generate(random_model(), kPrompt, {}, options(30));
  const Ids local = generate(random_model(), kPrompt, ModelPattern::uniform({-1, 0, 0}), options(30));
  BOOST_TEST((dense != local));
}

BOOST_AUTO_TEST_CASE(nothing_to_do_and_misuse) {
  BOOST_TEST(continued(options(0)).empty());
  test::check_error([] { continued(options(3), {}); }, "the prompt is empty");
  test::check_error([] { continued(options(-1)); }, "expected max_new_tokens 0 or more, found -1");
  test::check_error([] { continued(options(1), {1, kWords}); }, "embedding");
  test::check_error([] { continued(options(1), {-1}); }, "embedding");
  test::check_error([] { continued(options(1, {-1})); }, "expected temperature 0 or more");
  test::check_error(
      [] {
        generate(random_model(), kPrompt, {{{{}}, {{}}, {{}}}}, options(1));
      },
      "expected patterns for 1 or 2 layers, found 3");
}

BOOST_AUTO_TEST_CASE(nothing_is_recorded) {
  BOOST_TEST(ratel::grad_enabled());
  continued(options(2));
  BOOST_TEST(ratel::grad_enabled());
}
