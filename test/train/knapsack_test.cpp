#include "train/knapsack.h"

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "core/rng.h"
#include "test/support/compare.h"

namespace test = ratel::test;
using ratel::Rng;
using ratel::train::Choice;
using ratel::train::Choices;
using ratel::train::choose;

namespace {

struct Sum {
  int64_t cost = 0;
  double loss = 0;
};

Sum sum_of(const std::vector<Choices>& groups, const std::vector<size_t>& chosen) {
  Sum sum;
  for (size_t g = 0; g < groups.size(); ++g) {
    sum.cost += groups[g].at(chosen[g]).cost;
    sum.loss += groups[g][chosen[g]].loss;
  }
  return sum;
}

/// The least loss within the budget, over all selections; infinity where none is within it.
double least_loss(const std::vector<Choices>& groups, int64_t budget, size_t from = 0) {
  if (budget < 0) return std::numeric_limits<double>::infinity();
  if (from == groups.size()) return 0;
  double least = std::numeric_limits<double>::infinity();
  for (const Choice& one : groups[from])
    least = std::min(least, one.loss + least_loss(groups, budget - one.cost, from + 1));
  return least;
}

/// The same by the textbook's table over every budget.
double least_loss_by_table(const std::vector<Choices>& groups, int64_t budget) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  std::vector<double> least(static_cast<size_t>(budget) + 1, 0.0);
  for (const Choices& choices : groups) {
    std::vector<double> next(least.size(), kNone);
    for (size_t total = 0; total < least.size(); ++total)
      for (const Choice& one : choices)
        if (static_cast<size_t>(one.cost) <= total)
          next[total] = std::min(next[total], least[total - static_cast<size_t>(one.cost)] + one.loss);
    least = std::move(next);
  }
  return least.back();
}

Choices random_choices(Rng& rng, int64_t count, uint64_t most) {
  Choices choices;
  for (int64_t i = 0; i < count; ++i) choices.push_back({static_cast<int64_t>(rng.below(most)), rng.uniform() - 0.3});
  return choices;
}

/// As a search meets them: cost T / D, losses that mostly grow with D, at another pace in every group.
std::vector<Choices> cache_choices(Rng& rng, int64_t groups, int64_t T) {
  std::vector<Choices> all;
  for (int64_t g = 0; g < groups; ++g) {
    Choices& choices = all.emplace_back();
    const double pace = 1e-3 * rng.uniform();
    for (int64_t D = 1; D <= 128; D *= 2)
      choices.push_back({T / D, pace * std::log2(static_cast<double>(D)) + 2e-4 * (rng.uniform() - 0.5)});
  }
  return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(small_knapsacks_equal_brute_force) {
  Rng rng(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<Choices> groups;
    const auto count = static_cast<int64_t>(rng.below(6));
    for (int64_t g = 0; g < count; ++g)
      groups.push_back(random_choices(rng, 1 + static_cast<int64_t>(rng.below(4)), round % 2 == 0 ? 5 : 1000));
    const auto budget = static_cast<int64_t>(rng.below(round % 2 == 0 ? 20 : 4000));
    const double expected = least_loss(groups, budget);
    if (std::isinf(expected)) {
      test::check_error([&] { choose(groups, budget); }, "more than the budget of " + std::to_string(budget));
      continue;
    }
    const std::vector<size_t> chosen = choose(groups, budget);
    BOOST_TEST_REQUIRE(chosen.size() == groups.size());
    const Sum sum = sum_of(groups, chosen);
    BOOST_TEST(sum.cost <= budget);
    BOOST_TEST(std::abs(sum.loss - expected) <= 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(larger_knapsacks_equal_a_table_over_all_budgets) {
  Rng rng(2);
  // T = 96: the costs divide each other; 1000: they are ragged. Budgets from nearly the least to all of it.
  for (const int64_t T : {96, 1000})
    for (const double share : {1.0 / 100, 1.0 / 16, 1.0 / 5, 0.5, 1.0}) {
      const auto groups = cache_choices(rng, 40, T);
      const auto budget = static_cast<int64_t>(share * static_cast<double>(40 * T));
      const Sum sum = sum_of(groups, choose(groups, budget));
      BOOST_TEST(sum.cost <= budget);
      BOOST_TEST(std::abs(sum.loss - least_loss_by_table(groups, budget)) <= 1e-12);
    }
}

BOOST_AUTO_TEST_CASE(a_thousand_heads_take_no_time_and_the_same_choice) {
  Rng rng(3);
  const auto groups = cache_choices(rng, 1000, 4099);
  const auto begin = std::chrono::steady_clock::now();
  for (const int64_t parts : {2, 16, 100}) {
    const int64_t budget = int64_t{1000} * 4099 / parts;
    const auto chosen = choose(groups, budget);
    BOOST_TEST(sum_of(groups, chosen).cost <= budget);
    BOOST_TEST(chosen == choose(groups, budget), boost::test_tools::per_element());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  BOOST_TEST_MESSAGE("six times a thousand groups: " << seconds.count() << " s");
  BOOST_TEST(seconds.count() < 30);
}

BOOST_AUTO_TEST_CASE(of_equal_losses_the_cheaper_is_chosen) {
  const std::vector<Choices> groups{{{8, 0.0}, {4, 0.0}, {1, 0.0}}, {{8, -1.0}, {4, 0.5}}};
  const std::vector<size_t> expected{2, 0};
  BOOST_TEST(choose(groups, 100) == expected, boost::test_tools::per_element());
  BOOST_TEST(choose(groups, 9) == expected, boost::test_tools::per_element());
  BOOST_TEST(choose({}, 0).empty());
}

BOOST_AUTO_TEST_CASE(rounding_does_not_lose_the_best_selection) {
  // A steep step at a small cost beside a large budget: bounds are differences of large numbers.
  std::vector<Choices> groups(50, Choices{{1, 1e3}, {2, 0.0}, {1'000'000, -1e-9}});
  const Sum sum = sum_of(groups, choose(groups, 1'000'000 + 98));
  BOOST_TEST(sum.loss == -1e-9);
  groups.push_back({{0, 1e6}});  // an offset
  BOOST_TEST(sum_of(groups, choose(groups, 1'000'000 + 97)).loss == 1e6);
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const auto run = [](const std::vector<Choices>& groups) { return [groups] { choose(groups, 3); }; };
  test::check_error(run({{}}), "a choice in every group");
  test::check_error(run({{{-1, 0.0}}}), "found -1 and 0");
  test::check_error(run({{{1, std::nan("")}}}), "a finite loss, found 1 and nan");
  test::check_error(run({{{2, 0.0}, {5, 0.0}}, {{2, 0.0}}}), "the cheapest choices cost 4, more than the budget of 3");
}
