// What the model says to a prompt, whatever the prompts beside it.
#include "tasks/continuations.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>

#include "test/support/devices.h"
#include "test/tasks/small_model.h"

using ratel::Continuation;
using ratel::Device;
using ratel::DType;
using ratel::FinishReason;
using ratel::ModelPattern;
using ratel::Tokenizer;
using ratel::tasks::greedy_continuations;
using ratel::tasks::Prompt;
using ratel::tasks::TaskSetting;
namespace test = ratel::test;

namespace {

const ratel::RatPlusConfig kConfig{.vocab_size = 257, .layers = 2, .channels = 48, .heads = 3};

/// Around the lengths at which prompts are cut, and at which products take another kernel; some alike.
std::vector<Prompt> some_prompts() {
  ratel::Rng rng(9);
  std::vector<Prompt> prompts;
  for (const int64_t length : {1,  2,  16, 17, 18, 40, 511, 512, 513, 520, 528, 529, 30,  31, 33,
                               34, 35, 36, 37, 38, 39, 17,  17,  19,  20,  21,  22,  513, 1,  700})
    prompts.push_back({test::random_tokens(rng, length, 256), length == 33 ? 3 : 6});
  return prompts;
}

std::vector<std::vector<int64_t>> said(const TaskSetting& setting, const std::vector<Prompt>& prompts) {
  std::vector<std::vector<int64_t>> tokens;
  for (const auto& text : greedy_continuations(setting, prompts)) tokens.push_back(text.value().tokens);
  return tokens;
}

}  // namespace

BOOST_AUTO_TEST_CASE(they_are_what_generate_says) {
  for (const Device device : test::devices()) {
    const test::SmallModel m(DType::f64, device, kConfig);
    const std::vector<Prompt> all = some_prompts(),
                              prompts(all.begin(), all.begin() + (test::is_imitated(device) ? 3 : 16));
    for (const ModelPattern& pattern : {test::some_patterns()[0], test::some_patterns()[4], test::some_patterns()[5]}) {
      const auto found = said({m.model, Tokenizer::bytes(), pattern, 8}, prompts);
      for (size_t i = 0; i < prompts.size(); ++i) {
        ratel::GenerationOptions how;
        how.max_new_tokens = prompts[i].max_new_tokens;
        how.eos = 256;
        BOOST_TEST(found[i] == generate(m.model, {prompts[i].tokens}, pattern, how).sequences[0].tokens,
                   "prompt " << i << " on " << device << " with " << pattern);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(on_the_cpu_other_prompts_change_no_bit) {
  const std::vector<Prompt> prompts = some_prompts();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const test::SmallModel m(dtype, ratel::kCpu, kConfig);
    for (const ModelPattern& pattern : std::span(test::some_patterns()).subspan(dtype == DType::f32 ? 0 : 4)) {
      const auto said_in_batches = [&](int64_t batch_size) {
        return greedy_continuations({m.model, Tokenizer::bytes(), pattern, batch_size}, prompts);
      };
      const auto alone = said_in_batches(1);
      for (const int64_t batch_size : {3, 64}) {
        const auto found = said_in_batches(batch_size);
        for (size_t i = 0; i < prompts.size(); ++i)
          BOOST_TEST_CONTEXT("prompt " << i << " of " << prompts[i].tokens.size() << ", batches of " << batch_size
                                       << ' ' << dtype << ' ' << pattern) {
            BOOST_TEST(found[i]->tokens == alone[i]->tokens);
            BOOST_TEST(found[i]->logprobs == alone[i]->logprobs);
          }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(nor_where_channels_end_inside_a_vector) {
  std::vector<Prompt> prompts = some_prompts();
  prompts.resize(12);
  for (const int64_t heads : {3, 5}) {
    const test::SmallModel m(DType::f32, ratel::kCpu,
                             {.vocab_size = 257, .layers = 2, .channels = 12 * heads, .heads = heads});
    const auto alone = greedy_continuations({m.model, Tokenizer::bytes(), {}, 1}, prompts),
               found = greedy_continuations({m.model, Tokenizer::bytes(), {}, 8}, prompts);
    for (size_t i = 0; i < prompts.size(); ++i) {
      BOOST_TEST(found[i]->tokens == alone[i]->tokens);
      BOOST_TEST(found[i]->logprobs == alone[i]->logprobs);
    }
  }
}

BOOST_AUTO_TEST_CASE(batches_are_told_of_as_they_come) {
  const test::SmallModel m(DType::f32, ratel::kCpu, kConfig);
  const std::vector<Prompt> prompts = some_prompts();
  std::vector<size_t> told;
  int64_t done = 0;
  TaskSetting setting{m.model, Tokenizer::bytes(), {}, 4, {}, [&](int64_t now, int64_t) { done = now; }};
  const auto after = [&](std::span<const size_t> batch, std::span<const std::optional<Continuation>> results) {
    BOOST_TEST(static_cast<size_t>(done) == told.size());  // progress comes later
    for (const size_t i : batch) BOOST_TEST(results[i].has_value());
    told.insert(told.end(), batch.begin(), batch.end());
  };
  greedy_continuations(setting, prompts, {}, after);
  std::ranges::sort(told);
  BOOST_TEST_REQUIRE(told.size() == prompts.size());
  for (size_t i = 0; i < told.size(); ++i) BOOST_TEST(told[i] == i);
}

BOOST_AUTO_TEST_CASE(they_end_where_they_are_told) {
  const test::SmallModel m(DType::f32, ratel::kCpu, kConfig);
  const Prompt prompt{{65, 66, 67}, 12};
  TaskSetting setting{m.model, Tokenizer::bytes()};
  const Continuation all = greedy_continuations(setting, std::vector{prompt})[0].value();
  BOOST_TEST(all.tokens.size() == 12);
  BOOST_TEST((all.finish == FinishReason::length));
  BOOST_TEST_REQUIRE(all.text.size() > 4);
  const std::string stop = all.text.substr(3, 1);
  const Continuation cut = greedy_continuations(setting, std::vector{prompt}, {stop})[0].value();
  BOOST_TEST(cut.text == all.text.substr(0, all.text.find(stop)));
  BOOST_TEST((cut.finish == FinishReason::stop_string));
  BOOST_CHECK_THROW(greedy_continuations({m.model, Tokenizer::bytes(), {}, 0}, std::vector{prompt}), ratel::Error);
}

BOOST_AUTO_TEST_CASE(what_a_stop_came_before_has_no_result) {
  const test::SmallModel m(DType::f32, ratel::kCpu, kConfig);
  const std::vector<Prompt> prompts = some_prompts();
  int asked = 0;
  TaskSetting setting{m.model, Tokenizer::bytes(), {}, 4, [&] { return ++asked > 20; }, {}};
  const auto found = greedy_continuations(setting, prompts);
  setting.stop = {};
  const auto all = said(setting, prompts);
  size_t there = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (!found[i]) continue;
    ++there;
    BOOST_TEST(found[i]->tokens == all[i]);
  }
  BOOST_TEST(there > 0);
  BOOST_TEST(there < prompts.size());
}
