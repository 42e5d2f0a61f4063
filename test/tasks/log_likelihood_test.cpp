// Log-likelihoods against a full forward of each pair alone, and against themselves in other batches.
#include "tasks/log_likelihood.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "autograd/grad_mode.h"
#include "models/sampling.h"
#include "test/support/devices.h"
#include "test/tasks/small_model.h"

using ratel::Device;
using ratel::DType;
using ratel::Error;
using ratel::ModelPattern;
using ratel::RatPlus;
using ratel::RatPlusConfig;
using ratel::tasks::log_likelihoods;
using ratel::tasks::LogLikelihood;
using ratel::tasks::LogLikelihoodOptions;
using ratel::tasks::TextsError;
using ratel::tasks::TokenPair;
namespace test = ratel::test;

namespace {

using Model = test::SmallModel;
const RatPlusConfig kConfig = test::small_config();

/// Around the lengths that are padded to, and longer than a tile.
std::vector<TokenPair> some_pairs() {
  ratel::Rng rng(11);
  std::vector<TokenPair> pairs;
  for (const auto& [context, continuation] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {3, 2}, {60, 4}, {61, 4}, {62, 4}, {64, 1}, {65, 1}, {5, 90}, {130, 3}, {2, 5}, {200, 17}, {20, 1}})
    pairs.push_back({test::random_tokens(rng, context), test::random_tokens(rng, continuation)});
  return pairs;
}

std::vector<LogLikelihood> results(const RatPlus& model, const std::vector<TokenPair>& pairs,
                                   const LogLikelihoodOptions& options) {
  std::vector<LogLikelihood> all;
  for (const auto& result : log_likelihoods(model, pairs, options)) all.push_back(result.value());
  return all;
}

/// From the logits of the whole text, alone and without padding.
LogLikelihood full_forward(const RatPlus& model, const TokenPair& pair, const ModelPattern& pattern) {
  const ratel::NoGrad no_grad;
  std::vector<int64_t> text = pair.context;
  text.insert(text.end(), pair.continuation.begin(), pair.continuation.end());
  const auto logits = ratel::to_vector<double>(
      model(from_vector(text, {1, static_cast<int64_t>(text.size())}, DType::i64, model.device()), pattern));
  const auto V = static_cast<size_t>(kConfig.vocab_size);
  LogLikelihood result{0, true, static_cast<int64_t>(pair.continuation.size())};
  for (size_t i = pair.context.size(); i < text.size(); ++i) {
    const auto row = std::span(logits).subspan((i - 1) * V, V);
    result.sum += ratel::log_probability(row, text[i]);
    result.is_greedy = result.is_greedy && ratel::sample_token(row, {}, {}) == text[i];
  }
  return result;
}

/// One that is greedy: the two tokens that the model itself says next.
TokenPair greedy_pair(const std::vector<int64_t>& context, const RatPlus& model) {
  TokenPair pair{context, {}};
  for (size_t i = 0; i < 2; ++i) {
    TokenPair longer = pair;
    longer.continuation.push_back(0);
    while (!full_forward(model, longer, {}).is_greedy && longer.continuation.back() < kConfig.vocab_size)
      ++longer.continuation.back();
    pair = longer;
  }
  return pair;
}

}  // namespace

BOOST_AUTO_TEST_CASE(they_are_those_of_a_full_forward) {
  const TokenPair greedy = greedy_pair(some_pairs()[1].context, Model(DType::f64).model);
  for (const Device device : test::devices()) {
    const Model m(DType::f64, device);
    std::vector<TokenPair> pairs = some_pairs();
    if (test::is_imitated(device)) pairs.resize(2);  // slow
    pairs.push_back(greedy);
    for (size_t p = 0; p < test::some_patterns().size(); p += test::is_imitated(device) ? 3 : 1) {
      const ModelPattern& pattern = test::some_patterns()[p];
      const auto found = results(m.model, pairs, {.pattern = pattern, .batch_size = 5});
      for (size_t i = 0; i < pairs.size(); ++i) {
        const LogLikelihood expected = full_forward(m.model, pairs[i], pattern);
        BOOST_TEST_CONTEXT("pair " << i << " on " << device << " with " << pattern) {
          BOOST_TEST(std::abs(found[i].sum - expected.sum) < 1e-9 * (1 + std::abs(expected.sum)));
          BOOST_TEST(found[i].is_greedy == expected.is_greedy);
          BOOST_TEST(found[i].tokens == expected.tokens);
        }
      }
    }
    BOOST_TEST(results(m.model, {greedy}, {})[0].is_greedy);
  }
}

BOOST_AUTO_TEST_CASE(on_the_cpu_other_pairs_change_no_bit) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    const Model m(dtype);
    const std::vector<TokenPair> pairs = some_pairs();
    for (const ModelPattern& pattern : test::some_patterns()) {
      const auto alone = results(m.model, pairs, {.pattern = pattern, .batch_size = 1});
      const auto check_same = [&](const std::vector<LogLikelihood>& found, size_t i, size_t original) {
        BOOST_TEST_CONTEXT(dtype << ' ' << pattern << ", pair " << original) {
          BOOST_TEST(found[i].sum == alone[original].sum);
          BOOST_TEST(found[i].is_greedy == alone[original].is_greedy);
        }
      };
      for (const int64_t batch_size : {3, 8, 64}) {
        const auto found = results(m.model, pairs, {.pattern = pattern, .batch_size = batch_size});
        for (size_t i = 0; i < pairs.size(); ++i) check_same(found, i, i);
      }
      std::vector<TokenPair> reversed(pairs.rbegin(), pairs.rend());
      reversed.insert(reversed.end(), 20, pairs[0]);
      const auto found = results(m.model, reversed, {.pattern = pattern, .batch_size = 32});
      for (size_t i = 0; i < pairs.size(); ++i) check_same(found, i, pairs.size() - 1 - i);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_long_context_loses_its_beginning) {
  const Model m(DType::f64);
  ratel::Rng rng(7);
  const TokenPair pair{test::random_tokens(rng, 30), test::random_tokens(rng, 4)};
  for (const int64_t most : {4, 5, 20, 33}) {
    // The model reads all but the last token: of 34 tokens, most + 1 take part.
    const TokenPair cut{{pair.context.end() - (most - 3), pair.context.end()}, pair.continuation};
    const double expected = full_forward(m.model, cut, {}).sum;
    BOOST_TEST(std::abs(results(m.model, {pair}, {.max_length = most})[0].sum - expected) < 1e-9);
  }
  BOOST_TEST(results(m.model, {pair}, {.max_length = 34})[0].sum == results(m.model, {pair}, {})[0].sum);
  BOOST_CHECK_EXCEPTION(results(m.model, {pair}, {.max_length = 3}), Error, [](const Error& error) {
    return std::string(error.what()).find("pair 0 has 4 tokens; expected at most max_length, 3") != std::string::npos;
  });
}

BOOST_AUTO_TEST_CASE(what_a_stop_came_before_has_no_result) {
  const Model m(DType::f32);
  const std::vector<TokenPair> pairs = some_pairs();
  const auto all = results(m.model, pairs, {});
  int asked = 0;
  const auto found = log_likelihoods(m.model, pairs, {.batch_size = 2, .stop = [&] { return asked++ == 2; }});
  BOOST_TEST(std::ranges::count_if(found, [](const auto& result) { return result.has_value(); }) > 0);
  BOOST_TEST(std::ranges::count_if(found, [](const auto& result) { return !result.has_value(); }) > 0);
  for (size_t i = 0; i < pairs.size(); ++i)
    if (found[i]) BOOST_TEST(found[i]->sum == all[i].sum);
}

BOOST_AUTO_TEST_CASE(wrong_arguments_are_refused) {
  Model m(DType::f32);
  const auto check_refused = [&](const TokenPair& pair, const LogLikelihoodOptions& options, const std::string& part) {
    BOOST_CHECK_EXCEPTION(log_likelihoods(m.model, std::vector{pair}, options), Error, [&](const Error& error) {
      return std::string(error.what()).find(part) != std::string::npos;
    });
  };
  check_refused({{}, {1}}, {}, "the context of pair 0 is empty");
  check_refused({{1}, {}}, {}, "the continuation of pair 0 is empty");
  check_refused({{43}, {1}}, {}, "pair 0 has the token 43, expected 0 to 42");
  check_refused({{1}, {-1}}, {}, "pair 0 has the token -1");
  check_refused({{1}, {1}}, {.batch_size = 0}, "batch_size");
  check_refused({{1}, {1}}, {.max_length = -1}, "max_length");
  check_refused({{1}, {1}}, {.pattern = {{{{1, 0, 0}}, {{1, 0, 0}}, {{1, 0, 0}}}}}, "layer");
  BOOST_TEST(log_likelihoods(m.model, {}, {}).empty());

  test::spoil(m.model);
  ratel::Rng rng(1);
  const std::vector<TokenPair> pairs = {{{1}, {1}}, {test::random_tokens(rng, 70), {1}}};
  BOOST_CHECK_EXCEPTION(log_likelihoods(m.model, pairs, {}), TextsError, [](const TextsError& error) {
    BOOST_TEST(error.texts() == std::vector<size_t>{1});  // the longest comes first
    return error.kind() == ratel::ErrorKind::numerical;
  });
}

BOOST_AUTO_TEST_CASE(long_pairs_are_read_a_few_at_once) {
  const Model m(DType::f32);
  ratel::Rng rng(7);
  std::vector<TokenPair> pairs;
  for (int i = 0; i < 5; ++i) pairs.push_back({test::random_tokens(rng, 6000 + i), {1}});
  pairs.push_back({test::random_tokens(rng, 17000), {1}});
  const ModelPattern pattern = ModelPattern::uniform({.dilation = 64});
  const auto alone = results(m.model, pairs, {.pattern = pattern, .batch_size = 1});
  int batches = 0;
  const auto found = results(m.model, pairs, {.pattern = pattern, .batch_size = 8, .stop = [&] {
                                                ++batches;
                                                return false;
                                              }});
  BOOST_TEST(batches == 4);  // 17000 alone, then 6000 by two
  for (size_t i = 0; i < pairs.size(); ++i) BOOST_TEST(found[i].sum == alone[i].sum);
}
