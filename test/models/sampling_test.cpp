#include "models/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/rng.h"
#include "test/support/compare.h"

using ratel::log_probability;
using ratel::sample_token;
using ratel::sampling_distribution;
using ratel::SamplingOptions;
namespace test = ratel::test;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Probabilities 0.4, 0.1, 0.3, 0.15, 0.05.
const std::vector<double> kShares{0.4, 0.1, 0.3, 0.15, 0.05};
std::vector<double> toy_logits() {
  std::vector<double> logits;
  for (const double share : kShares) logits.push_back(std::log(share) + 7);
  return logits;
}

void check_distribution(const SamplingOptions& options, const std::vector<int64_t>& ids,
                        const std::vector<double>& shares) {
  const auto tokens = sampling_distribution(toy_logits(), options);
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  BOOST_REQUIRE(tokens.size() == ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    BOOST_TEST(tokens[i].id == ids[i]);
    BOOST_TEST(std::abs(tokens[i].probability - shares[i] / total) < 1e-14);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(temperature_0_takes_the_largest_and_the_lowest_of_several) {
  const auto greedy = [](const std::vector<double>& logits) { return sample_token(logits, {}, {}); };
  BOOST_TEST(greedy({1, 3, 2}) == 1);
  BOOST_TEST(greedy({1, 3, 3, 3}) == 1);
  BOOST_TEST(greedy({-kInfinity, -5}) == 1);
  BOOST_TEST(greedy({0}) == 0);
}

BOOST_AUTO_TEST_CASE(the_distribution_follows_the_options) {
  check_distribution({1}, {0, 2, 3, 1, 4}, {0.4, 0.3, 0.15, 0.1, 0.05});
  check_distribution({1, 3}, {0, 2, 3}, {0.4, 0.3, 0.15});
  check_distribution({1, 100}, {0, 2, 3, 1, 4}, {0.4, 0.3, 0.15, 0.1, 0.05});
  check_distribution({1, 0, 0.6}, {0, 2}, {0.4, 0.3});
  check_distribution({1, 0, 0.71}, {0, 2, 3}, {0.4, 0.3, 0.15});
  check_distribution({1, 0, 1e-9}, {0}, {1});
  const std::vector<double> alike(4);  // a share that is met exactly is enough
  BOOST_TEST(sampling_distribution(alike, {1, 0, 0.5}).size() == 2U);
  // top_p is of what top_k left: 0.4 / 0.7 = 0.57.
  check_distribution({1, 2, 0.57}, {0}, {1});
  check_distribution({1, 2, 0.58}, {0, 2}, {0.4, 0.3});
  check_distribution({2}, {0, 2, 3, 1, 4},
                     {std::sqrt(0.4), std::sqrt(0.3), std::sqrt(0.15), std::sqrt(0.1), std::sqrt(0.05)});
  check_distribution({0, 3, 0.5}, {0}, {1});
  // min_p is of the largest, 0.4: 0.15 / 0.4 = 0.375.
  check_distribution({1, 0, 1, 0.37}, {0, 2, 3}, {0.4, 0.3, 0.15});
  check_distribution({1, 0, 1, 0.38}, {0, 2}, {0.4, 0.3});
  check_distribution({1, 0, 1, 1}, {0}, {1});
  check_distribution({2, 0, 1, 0.6}, {0, 2, 3}, {std::sqrt(0.4), std::sqrt(0.3), std::sqrt(0.15)});  // sqrt(0.375)
  check_distribution({1, 0, 0.6, 0.1}, {0, 2}, {0.4, 0.3});  // whichever cuts more
  check_distribution({1, 2, 1, 0.1}, {0, 2}, {0.4, 0.3});
}

BOOST_AUTO_TEST_CASE(impossible_tokens_are_left_out) {
  const auto tokens = sampling_distribution(std::vector<double>{-kInfinity, 1, 1e5, 1e5}, {1e-3});
  BOOST_REQUIRE(tokens.size() == 2U);
  BOOST_TEST(tokens[0].id == 2);
  BOOST_TEST(tokens[1].id == 3);
  BOOST_TEST(tokens[0].probability == 0.5);
}

BOOST_AUTO_TEST_CASE(frequencies_are_the_probabilities) {
  const auto logits = toy_logits();
  constexpr uint64_t kDraws = 20'000;
  std::vector<double> counts(logits.size());
  for (uint64_t step = 0; step < kDraws; ++step)
    counts[static_cast<size_t>(sample_token(logits, {.temperature = 1, .seed = 5}, {step}))] += 1;
  for (size_t id = 0; id < counts.size(); ++id) {
    const double p = kShares[id], deviation = std::sqrt(p * (1 - p) / static_cast<double>(kDraws));
    BOOST_TEST(std::abs(counts[id] / static_cast<double>(kDraws) - p) < 4 * deviation);
  }
}

BOOST_AUTO_TEST_CASE(a_draw_is_that_of_the_whole_vocabulary_in_order) {
  // Many equal logits and some impossible ones; sizes about where the order is carried on.
  for (const int64_t V : {1, 63, 64, 65, 128, 129, 1000}) {
    ratel::Rng rng(static_cast<uint64_t>(V));
    std::vector<double> logits;
    for (int64_t id = 0; id < V; ++id)
      logits.push_back(rng.below(20) == 0 && id > 0 ? -kInfinity : 0.25 * static_cast<double>(rng.below(40)));
    std::vector<int64_t> ids(logits.size());
    std::iota(ids.begin(), ids.end(), int64_t{0});
    std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) {
      return logits.at(static_cast<size_t>(a)) > logits.at(static_cast<size_t>(b));
    });
    for (const SamplingOptions& o : {SamplingOptions{1},
                                     {0.2},
                                     {50},
                                     {1, 1},
                                     {1, 64},
                                     {1, 70},
                                     {1, 0, 0.3},
                                     {50, 0, 0.9},
                                     {2, 100, 0.5},
                                     {1, 0, 1, 0.3},
                                     {50, 0, 1, 0.9},
                                     {1, 70, 0.9, 0.1}}) {
      // Straight from the definition.
      std::vector<double> weights;
      for (size_t i = 0; i < ids.size() && (o.top_k == 0 || i < static_cast<size_t>(o.top_k)); ++i)
        weights.push_back(
            std::exp((logits[static_cast<size_t>(ids[i])] - logits[static_cast<size_t>(ids[0])]) / o.temperature));
      double total = std::accumulate(weights.begin(), weights.end(), 0.0), kept = 0;
      size_t count = 0;
      while (count < weights.size() && (o.top_p == 1 || kept < o.top_p * total) && weights[count] > 0 &&
             weights[count] >= o.min_p)
        kept += weights[count++];
      BOOST_TEST(sampling_distribution(logits, o).size() == count);
      for (uint64_t step = 0; step < 50; ++step) {
        const double drawn = ratel::Rng(o.seed).uniform_at(step);
        size_t rank = 0;
        for (double reached = weights[0] / kept; reached <= drawn; reached += weights[++rank] / kept) {
        }
        BOOST_TEST(sample_token(logits, o, {step}) == ids[rank]);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_draw_is_a_function_of_seed_stream_and_step) {
  const auto logits = toy_logits();
  const auto draws = [&](uint64_t seed, uint64_t stream, bool backwards) {
    std::vector<int64_t> result(200);
    for (uint64_t i = 0; i < result.size(); ++i) {
      const uint64_t step = backwards ? result.size() - 1 - i : i;
      result[step] = sample_token(logits, {.temperature = 1, .seed = seed}, {step, stream});
    }
    return result;
  };
  BOOST_TEST((draws(1, 0, false) == draws(1, 0, true)));
  BOOST_TEST((draws(1, 3, false) == draws(1, 3, true)));
  BOOST_TEST((draws(1, 0, false) != draws(2, 0, false)));
  BOOST_TEST((draws(1, 0, false) != draws(1, 1, false)));
}

BOOST_AUTO_TEST_CASE(a_repeated_token_is_penalised_once_whatever_its_sign) {
  const std::vector<double> logits{2, -1, 0, 3, -kInfinity};
  const auto shares = [&](const SamplingOptions& options, const std::vector<int64_t>& text) {
    std::vector<double> by_id(logits.size());
    for (const auto& [id, p] : sampling_distribution(logits, options, text)) by_id.at(static_cast<size_t>(id)) = p;
    return by_id;
  };
  const std::vector<double> expected{std::exp(1), std::exp(-2), std::exp(0), std::exp(3), 0};
  const double total = std::accumulate(expected.begin(), expected.end(), 0.0);
  const SamplingOptions penalty{.temperature = 1, .repetition_penalty = 2};
  const auto found = shares(penalty, {0, 1, 2, 0, 4, 0});
  for (size_t id = 0; id < logits.size(); ++id) BOOST_TEST(std::abs(found[id] - expected[id] / total) < 1e-15);
  BOOST_TEST(shares(penalty, {}) == shares({1}, {}), boost::test_tools::per_element());
  BOOST_TEST(shares({1}, {0, 1}) == shares({1}, {}), boost::test_tools::per_element());
  // Greedy too, and below 1 repetition is favoured.
  BOOST_TEST(sample_token(logits, {.repetition_penalty = 1.6}, {}, std::vector<int64_t>{3}) == 0);
  BOOST_TEST(sample_token(logits, {.repetition_penalty = 0.6}, {}, std::vector<int64_t>{0}) == 0);
}

BOOST_AUTO_TEST_CASE(log_probabilities_are_the_models_own) {
  for (size_t id = 0; id < kShares.size(); ++id)
    BOOST_TEST(std::abs(log_probability(toy_logits(), static_cast<int64_t>(id)) - std::log(kShares[id])) < 1e-15);
  BOOST_TEST(log_probability(std::vector<double>{5, -kInfinity}, 0) == 0);
  BOOST_TEST(log_probability(std::vector<double>{5, -kInfinity}, 1) == -kInfinity);
  BOOST_TEST(std::abs(log_probability(std::vector<double>{1e4, 1e4 - 800}, 1) + 800) < 1e-9);  // no underflow
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const auto with = [](SamplingOptions options) { return [options] { sample_token(toy_logits(), options, {}); }; };
  test::check_error(with({-1}), "expected temperature 0 or more, found -1");
  test::check_error(with({kInfinity}), "expected temperature 0 or more, found inf");
  test::check_error(with({1, -1}), "expected top_k 0 or more, found -1");
  test::check_error(with({1, 0, 0}), "expected top_p above 0 and at most 1, found 0");
  test::check_error(with({1, 0, 1.5}), "expected top_p above 0 and at most 1, found 1.5");
  test::check_error(with({1, 0, std::nan("")}), "expected top_p");
  test::check_error(with({1, 0, 1, -0.1}), "expected min_p from 0 to 1, found -0.1");
  test::check_error(with({1, 0, 1, 1.5}), "expected min_p from 0 to 1, found 1.5");
  test::check_error(with({1, 0, 1, std::nan("")}), "expected min_p");
  test::check_error(with({1, 0, 1, 0, 0}), "expected repetition_penalty from 1e-06 to 1e+06, found 0");
  test::check_error(with({1, 0, 1, 0, std::nan("")}), "expected repetition_penalty");
  test::check_error(with({1, 0, 1, 0, 1e-310}), "expected repetition_penalty");
  test::check_error([] { sample_token(toy_logits(), {.repetition_penalty = 2}, {}, std::vector<int64_t>{5}); },
                    "expected a token from 0 to 4, found 5");
  test::check_error([] { log_probability(toy_logits(), -1); }, "expected a token from 0 to 4, found -1");
  const auto numerical = [](const std::vector<double>& logits, const std::string& part) {
    try {
      sample_token(logits, {}, {});
      BOOST_ERROR("no error");
    } catch (const ratel::Error& error) {
      BOOST_TEST((error.kind() == ratel::ErrorKind::numerical));
      BOOST_TEST(std::string(error.what()).find(part) != std::string::npos);
    }
  };
  numerical({0, std::nan("")}, "the logit of token 1 is nan");
  numerical({kInfinity, 0}, "the logit of token 0 is inf");
  numerical({-kInfinity, -kInfinity}, "no token has a finite logit");
  numerical({}, "no token has a finite logit");
}
