#include "models/generate.h"

#include <algorithm>
#include <cmath>

#include "autograd/grad_mode.h"
#include "models/kv_cache.h"
#include "ops/create.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::BlockScore;
using ratel::Caching;
using ratel::Continuation;
using ratel::FinishReason;
using ratel::generate;
using ratel::Generation;
using ratel::GenerationOptions;
using ratel::LogProbs;
using ratel::ModelPattern;
using ratel::NewToken;
using ratel::Next;
using ratel::RatPlus;
using ratel::SamplingOptions;
using ratel::nn::ParamStore;
using ratel::nn::Scope;
namespace test = ratel::test;

namespace {

using Ids = std::vector<int64_t>;

constexpr int64_t kWords = 23;
constexpr SamplingOptions kDrawn{.temperature = 5, .seed = 3};

/// A model with large random weights: its texts are varied.
RatPlus make_model(ratel::DType dtype, ratel::Device device, ratel::Recurrence recurrence = ratel::Recurrence::gated) {
  ParamStore store(dtype, 1, ratel::nn::Start::init, device);
  RatPlus result(Scope(store), {kWords, 2, 16, 2, recurrence});
  std::vector<ratel::NamedTensor> weights;
  for (const auto& [path, tensor] : store.parameters())
    weights.push_back({path, tensor.rank() == 1 ? tensor : test::randn(tensor.shape(), weights.size())});
  store.load(weights, "random");
  return result;
}

const RatPlus& random_model() {
  static const RatPlus model = make_model(ratel::DType::f32, ratel::kCpu);
  return model;
}

const Ids kPrompt{3, 1, 4, 1, 5};
const ModelPattern kPattern = ModelPattern::uniform({4, 1, 1});

/// A prompt of n tokens.
Ids words(int64_t n, uint64_t seed) {
  ratel::Rng rng(seed);
  Ids ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int64_t>(rng.below(kWords)));
  return ids;
}

GenerationOptions options(int64_t count, const SamplingOptions& sampling = {}) {
  GenerationOptions how;
  how.max_new_tokens = count;
  how.sampling = sampling;
  return how;
}

Continuation continued(const GenerationOptions& how, const Ids& prompt = kPrompt,
                       const ModelPattern& pattern = kPattern) {
  return generate(random_model(), {prompt}, pattern, how).sequences.at(0);
}
Ids ids_of(const GenerationOptions& how, const Ids& prompt = kPrompt, const ModelPattern& pattern = kPattern) {
  return continued(how, prompt, pattern).tokens;
}

/// The logits after a text, by the full forward.
std::vector<double> logits_after(const Ids& text) {
  const ratel::NoGrad no_grad;
  const auto T = static_cast<int64_t>(text.size());
  const auto all = ratel::to_vector<double>(random_model()(ratel::from_vector(text, {1, T}), kPattern));
  return {all.end() - kWords, all.end()};
}

/// Tokens as letters; every third says two.
std::string letters(int64_t token) { return std::string(token % 3 == 0 ? 2 : 1, static_cast<char>('a' + token)); }

GenerationOptions with_text(GenerationOptions how, std::vector<std::string> stop_strings = {}) {
  how.token_text = [](const Ids&) { return [](std::optional<int64_t> token) { return token ? letters(*token) : ""; }; };
  how.stop_strings = std::move(stop_strings);
  return how;
}

void check_alike(const Continuation& a, const Continuation& b, double tolerance) {
  BOOST_TEST(a.tokens == b.tokens, boost::test_tools::per_element());
  BOOST_TEST_REQUIRE(a.logprobs.size() == b.logprobs.size());
  for (size_t t = 0; t < a.logprobs.size(); ++t) BOOST_TEST(std::abs(a.logprobs[t] - b.logprobs[t]) < tolerance);
  BOOST_TEST(a.text == b.text);
  BOOST_TEST((a.finish == b.finish));
}

}  // namespace

BOOST_AUTO_TEST_CASE(greedy_takes_the_largest_logit_of_every_step) {
  const Ids ids = ids_of(options(12));
  BOOST_TEST(ids.size() == 12U);
  Ids text = kPrompt;
  for (const int64_t id : ids) {
    const auto logits = logits_after(text);
    BOOST_TEST(id == std::max_element(logits.begin(), logits.end()) - logits.begin());
    text.push_back(id);
  }
  BOOST_TEST(ids_of(options(12)) == ids, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_cache_changes_no_token) {
  const std::vector<std::pair<const char*, ModelPattern>> patterns{
      {"dense", {}},
      {"D=1 and a window and initial tokens: still dense", ModelPattern::uniform({1, 3, 2})},
      {"dilated", ModelPattern::uniform({16})},
      {"dilated, window", ModelPattern::uniform({4, 3})},
      {"dilated, initial", ModelPattern::uniform({4, 0, 5})},
      {"window and initial alone", ModelPattern::uniform({-1, 6, 2})},
      {"nothing but oneself", ModelPattern::uniform({-1})},
      {"window longer than the text", ModelPattern::uniform({-1, 100})},
      {"by layer", {{{{1}}, {{8, 2, 1}}}}},
      {"top-k blocks", {{{{4, 0, 0, 3}, {2, 0, 0, 4, BlockScore::mean}}, {{3, 0, 0, 3, BlockScore::minmax}}}}},
      {"by head", {{{{2}, {-1, 5}}, {{1}, {16, 0, 3}}}}}};
  for (const ratel::Device device : test::devices())
    for (const auto recurrence : {ratel::Recurrence::gated, ratel::Recurrence::none}) {
      if (test::is_imitated(device) && recurrence == ratel::Recurrence::none) continue;  // models/kv_cache has it
      const size_t length = test::is_imitated(device) ? 3 : 24;
      const RatPlus model = make_model(ratel::DType::f64, device, recurrence);
      for (const auto& [name, pattern] : patterns) BOOST_TEST_CONTEXT(name) {
          const std::vector<Ids> prompts{words(1, 1), words(17, 2), words(4, 3)};
          for (const SamplingOptions& sampling : {SamplingOptions{}, kDrawn}) {
            if (test::is_imitated(device) && sampling.temperature == 0) continue;
            GenerationOptions how = options(static_cast<int64_t>(length), sampling);
            how.logprobs = LogProbs::chosen;
            how.prefill_chunk = 5;
            const Generation cached = generate(model, prompts, pattern, how);
            how.caching = Caching::none;
            const Generation whole = generate(model, prompts, pattern, how);
            BOOST_TEST(whole.dense_bytes == 0);
            BOOST_TEST(cached.dense_bytes > 0);
            for (size_t i = 0; i < prompts.size(); ++i) {
              BOOST_TEST(cached.sequences[i].tokens == whole.sequences[i].tokens, boost::test_tools::per_element());
              for (size_t t = 0; t < length; ++t)
                BOOST_TEST(std::abs(cached.sequences[i].logprobs[t] - whole.sequences[i].logprobs[t]) < 1e-9);
            }
          }
        }
    }
}

BOOST_AUTO_TEST_CASE(a_text_does_not_depend_on_those_beside_it) {
  // 4 prompts of 2 samples, decoded together and alone: the same but for the rounding of f32.
  const std::vector<Ids> prompts{words(3, 1), words(1, 2), words(4, 3), words(2, 4)};
  GenerationOptions how = with_text(options(30, kDrawn), {"ab", "q"});
  how.logprobs = LogProbs::chosen;
  how.samples = 2;
  const Generation together = generate(random_model(), prompts, kPattern, how);
  BOOST_TEST(together.sequences.size() == 8U);
  std::vector<size_t> lengths;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Generation alone = generate(random_model(), {prompts[i]}, kPattern, how);
    for (size_t sample = 0; sample < 2; ++sample) {
      check_alike(together.sequences[2 * i + sample], alone.sequences[sample], 1e-5);
      lengths.push_back(alone.sequences[sample].tokens.size());
    }
    BOOST_TEST(alone.sequences[0].tokens != alone.sequences[1].tokens);
    how.samples = 1;
    check_alike(continued(how, prompts[i]), alone.sequences[0], 1e-5);
    how.samples = 2;
  }
  // They end at different times, so that the cache was forked to those that went on.
  std::ranges::sort(lengths);
  BOOST_TEST((lengths[0] < lengths[4] && lengths[4] < lengths[7]));
}

BOOST_AUTO_TEST_CASE(many_texts_and_long_prompts_have_the_same_tokens_as_alone) {
  // More rows than matmul calls few, and prompts that end in different chunks.
  std::vector<Ids> prompts;
  for (int64_t i = 0; i < 20; ++i) prompts.push_back(words(1 + 7 * i % 41, static_cast<uint64_t>(i)));
  GenerationOptions how = options(12, kDrawn);
  how.prefill_chunk = 16;
  const Generation together = generate(random_model(), prompts, kPattern, how);
  for (size_t i = 0; i < prompts.size(); ++i)
    BOOST_TEST(together.sequences[i].tokens == ids_of(how, prompts[i]), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(one_candidate_is_greedy) {
  const Ids greedy = ids_of(options(12));
  BOOST_TEST(ids_of(options(12, {.temperature = 1, .top_k = 1})) == greedy, boost::test_tools::per_element());
  BOOST_TEST(ids_of(options(12, {.temperature = 1, .top_p = 1e-9})) == greedy, boost::test_tools::per_element());
  BOOST_TEST(ids_of(options(12, {.temperature = 1, .min_p = 1})) == greedy, boost::test_tools::per_element());
  BOOST_TEST(ids_of(options(12, {.temperature = 1e-6})) == greedy, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_seed_fixes_the_text) {
  const Ids ids = ids_of(options(30, kDrawn));
  BOOST_TEST(ids_of(options(30, kDrawn)) == ids, boost::test_tools::per_element());
  BOOST_TEST((ids_of(options(30, {.temperature = 5, .seed = 4})) != ids));
  const Ids shorter = ids_of(options(10, kDrawn));
  BOOST_TEST((Ids(ids.begin(), ids.begin() + 10) == shorter));
  for (const int64_t id : ids) BOOST_TEST((id >= 0 && id < kWords));
}

BOOST_AUTO_TEST_CASE(every_device_says_the_same) {
  const Ids ids = ids_of(options(30, kDrawn));
  for (const ratel::Device device : test::devices()) {
    const RatPlus model = make_model(ratel::DType::f32, device);
    const Generation found = generate(model, {kPrompt}, kPattern, options(30, kDrawn));
    BOOST_TEST(found.sequences[0].tokens == ids, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_penalty_sees_the_prompt_and_the_text) {
  const SamplingOptions sampling{.repetition_penalty = 3};
  const Ids ids = ids_of(options(20, sampling));
  BOOST_TEST((ids != ids_of(options(20))));
  Ids text = kPrompt;
  for (const int64_t id : ids) {
    BOOST_TEST(id == sample_token(logits_after(text), sampling, {}, text));
    text.push_back(id);
  }
}

BOOST_AUTO_TEST_CASE(log_probabilities_are_those_of_the_model) {
  GenerationOptions how = options(8, {.temperature = 2, .top_k = 5, .repetition_penalty = 1.3});
  BOOST_TEST(continued(how).logprobs.empty());
  how.logprobs = LogProbs::chosen;
  std::vector<double> seen;
  const Generation found = generate(random_model(), {kPrompt}, kPattern, how, [&](const NewToken& token) {
    seen.push_back(token.logprob);
    return Next::go_on;
  });
  const Continuation& text = found.sequences[0];
  BOOST_TEST(seen == text.logprobs, boost::test_tools::per_element());
  Ids so_far = kPrompt;
  for (size_t t = 0; t < text.tokens.size(); ++t) {
    BOOST_TEST(std::abs(text.logprobs[t] - ratel::log_probability(logits_after(so_far), text.tokens[t])) < 1e-4);
    so_far.push_back(text.tokens[t]);
  }
}

BOOST_AUTO_TEST_CASE(a_prompt_of_one_token) {
  for (int64_t token = 0; token < kWords; ++token) BOOST_TEST(ids_of(options(3), {token}).size() == 3U);
}

BOOST_AUTO_TEST_CASE(the_text_ends_at_eos) {
  const Ids ids = ids_of(options(12));
  GenerationOptions how = options(12);
  how.eos = ids[4];
  const auto first = std::find(ids.begin(), ids.end(), ids[4]);
  const Continuation ended = continued(how);
  BOOST_TEST((ended.tokens == Ids(ids.begin(), first + 1)));
  BOOST_TEST((ended.finish == FinishReason::eos));
  how.eos = -5;
  BOOST_TEST((continued(how).finish == FinishReason::length));
}

BOOST_AUTO_TEST_CASE(the_text_ends_before_a_stop_string) {
  const GenerationOptions how = with_text(options(30, kDrawn));
  const Continuation whole = continued(how);
  std::string text;
  for (const int64_t id : whole.tokens) text += letters(id);
  BOOST_TEST(whole.text == text);
  // Strings of every length, that begin and end inside of tokens too.
  for (size_t begin = 0; begin < text.size(); begin += 3)
    for (size_t size = 1; size <= 4 && begin + size <= text.size(); ++size) {
      const std::string stop = text.substr(begin, size);
      std::string streamed;
      const Generation found =
          generate(random_model(), {kPrompt}, kPattern, with_text(how, {stop}), [&](const NewToken& token) {
            streamed += token.text;
            return Next::go_on;
          });
      const Continuation& ended = found.sequences[0];
      BOOST_TEST(ended.text == text.substr(0, text.find(stop)));
      BOOST_TEST(streamed == ended.text);
      BOOST_TEST((ended.finish == FinishReason::stop_string));
      std::string said;
      for (const int64_t id : ended.tokens) said += letters(id);
      BOOST_TEST(text.starts_with(said));
      BOOST_TEST(said.find(stop) != std::string::npos);  // no token was drawn beyond it
      BOOST_TEST(said.size() - said.find(stop) - stop.size() < 2);
    }
  // What might have become one is said at the end.
  BOOST_TEST(continued(with_text(how, {text.substr(text.size() - 2) + "!"})).text == text);
}

BOOST_AUTO_TEST_CASE(the_callback_sees_every_token_and_stops) {
  const Ids ids = ids_of(options(12));
  Ids seen;
  const auto watch = [&](size_t most) {
    return [&seen, most](const NewToken& token) {
      BOOST_TEST(std::isnan(token.logprob));
      seen.push_back(token.token);
      BOOST_TEST(token.finish.has_value() == (seen.size() == 12));
      return seen.size() == most ? Next::stop : Next::go_on;
    };
  };
  BOOST_TEST((generate(random_model(), {kPrompt}, kPattern, options(12), watch(100)).sequences[0].tokens == ids));
  BOOST_TEST((seen == ids));
  seen.clear();
  const Continuation stopped = generate(random_model(), {kPrompt}, kPattern, options(12), watch(5)).sequences[0];
  BOOST_TEST((stopped.tokens == seen));
  BOOST_TEST((stopped.finish == FinishReason::stopped));
  BOOST_TEST((seen == Ids(ids.begin(), ids.begin() + 5)));
}

BOOST_AUTO_TEST_CASE(the_callback_stops_one_text_or_all) {
  const std::vector<Ids> prompts{kPrompt, words(2, 1), words(3, 2)};
  for (const Caching caching : {Caching::keys, Caching::none}) {
    GenerationOptions how = options(12);
    how.caching = caching;
    const Generation whole = generate(random_model(), prompts, kPattern, how);
    for (const Next next : {Next::stop, Next::stop_all}) {
      size_t calls = 0;
      const Generation found = generate(random_model(), prompts, kPattern, how, [&](const NewToken& token) {
        return token.sequence == 1 && ++calls == 4 ? next : Next::go_on;
      });
      const std::vector<size_t> expected =
          next == Next::stop ? std::vector<size_t>{12, 4, 12} : std::vector<size_t>{4, 4, 3};
      for (size_t i = 0; i < 3; ++i) {
        const Ids& tokens = found.sequences[i].tokens;
        BOOST_TEST(tokens.size() == expected[i]);
        BOOST_TEST(std::equal(tokens.begin(), tokens.end(), whole.sequences[i].tokens.begin()));
        BOOST_TEST((found.sequences[i].finish == (expected[i] == 12 ? FinishReason::length : FinishReason::stopped)));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(it_can_be_stopped_in_the_prompt_and_between_steps) {
  GenerationOptions how = with_text(options(12));
  how.prefill_chunk = 2;
  for (const int most : {0, 1, 2, 3, 4, 7}) {  // before anything, in the prompt (3 chunks), then after some tokens
    int asked = 0;
    how.stop = [&] { return asked++ == most; };
    const Continuation found = continued(how);
    BOOST_TEST(found.tokens.size() == static_cast<size_t>(std::max(0, most - 3)));
    BOOST_TEST((found.finish == FinishReason::stopped));
    BOOST_TEST(found.text.empty() == found.tokens.empty());
  }
}

BOOST_AUTO_TEST_CASE(the_cache_is_as_large_as_the_formula_says) {
  GenerationOptions how = options(12);
  how.samples = 3;
  const Generation found = generate(random_model(), {kPrompt, words(9, 1)}, kPattern, how);
  const int64_t capacity = 9 + 12 - 1;
  BOOST_TEST(found.cache_bytes == 6 * kv_cache_bytes(random_model().config, kPattern, capacity, ratel::DType::f32));
  BOOST_TEST(found.dense_bytes == 6 * kv_cache_bytes(random_model().config, {}, capacity, ratel::DType::f32));

  // Texts that end before the others leave the cache, not what is said of it.
  const auto on_token = [](const NewToken& token) { return token.sequence > 0 ? Next::stop : Next::go_on; };
  const Generation ended = generate(random_model(), {kPrompt, words(9, 1)}, kPattern, how, on_token);
  BOOST_TEST(ended.cache_bytes == found.cache_bytes);
  BOOST_TEST(ended.dense_bytes == found.dense_bytes);
}

BOOST_AUTO_TEST_CASE(the_pattern_is_of_the_call) {
  // The third word of the prompt is out of sight at D=-1, W=0 but for the recurrence: other numbers, other texts.
  BOOST_TEST((ids_of(options(30), kPrompt, {}) != ids_of(options(30), kPrompt, ModelPattern::uniform({-1, 0, 0}))));
}

BOOST_AUTO_TEST_CASE(nothing_to_do_and_misuse) {
  const Continuation nothing = continued(with_text(options(0)));
  BOOST_TEST((nothing.tokens.empty() && nothing.text.empty() && nothing.finish == FinishReason::length));
  test::check_error([] { generate(random_model(), {}, {}, options(1)); }, "expected at least one prompt, found none");
  test::check_error([] { continued(options(3), {}); }, "the prompt is empty");
  test::check_error([] { generate(random_model(), {{1}, {}}, {}, options(1)); }, "prompt 1 is empty");
  test::check_error([] { continued(options(-1)); }, "expected max_new_tokens from 0 to 1073741824, found -1");
  test::check_error([] { continued(options(int64_t{1} << 31)); }, "expected max_new_tokens");
  test::check_error([] { continued(options(1), {1, kWords}); }, "the prompt has the token 23, expected tokens from 0");
  test::check_error([] { continued(options(1), {-1}); }, "the prompt has the token -1");
  test::check_error([] { continued(options(1, {-1})); }, "expected temperature 0 or more");
  GenerationOptions how = options(1);
  how.samples = 0;
  test::check_error([&] { continued(how); }, "expected at least 1 sample, found 0");
  how = options(1);
  how.prefill_chunk = 0;
  test::check_error([&] { continued(how); }, "expected prefill_chunk 1 or more, found 0");
  how = options(1);
  how.stop_strings = {"a"};
  test::check_error([&] { continued(how); }, "stop strings need token_text");
  test::check_error([] { continued(with_text(options(1), {""})); }, "a stop string is empty");
  test::check_error(
      [] {
        continued(options(1), kPrompt, {{{{}}, {{}}, {{}}}});
      },
      "expected patterns for 1 or 2 layers, found 3");
}

BOOST_AUTO_TEST_CASE(a_cache_that_does_not_fit_is_named) {
  try {
    // 256 bytes a token: a layer's part is more than any machine has, though Linux might hand it out.
    generate(random_model(), std::vector<Ids>(1000, kPrompt), {}, options(int64_t{1} << 30));
    BOOST_ERROR("no error");
  } catch (const ratel::Error& error) {
    BOOST_TEST((error.kind() == ratel::ErrorKind::memory));
    BOOST_TEST(std::string(error.what()).starts_with("generate: no memory for a cache of 1000 x 1073741828 tokens, "));
  }
}

BOOST_AUTO_TEST_CASE(nothing_is_recorded) {
  BOOST_TEST(ratel::grad_enabled());
  ids_of(options(2));
  BOOST_TEST(ratel::grad_enabled());
}
