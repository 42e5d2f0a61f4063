#include "cuda/plan_cache.h"

#include <boost/test/unit_test.hpp>

#include "test/support/compare.h"

using ratel::Error;
using ratel::ErrorKind;

namespace {

/// Plans are numbers; what they compute is which of them did.
struct Plans {
  using Cache = ratel::cuda::PlanCache<int, int>;
  Cache cache = {};
  int found = 0, computed = 0;
  std::optional<ErrorKind> find_fails = {}, compute_fails = {};

  bool run(int key, Cache::Call call = Cache::Call::computes) {
    return cache.run(
        key, call,
        [&] {
          ++found;
          if (find_fails) throw Error("found none", *find_fails);
          return 10 * key;
        },
        [&](int& plan) {
          if (compute_fails) throw Error("failed", *compute_fails);
          computed = plan;
        });
  }
};

constexpr auto kRecorded = Plans::Cache::Call::recorded;

}  // namespace

BOOST_AUTO_TEST_CASE(a_plan_is_found_once) {
  Plans plans;
  BOOST_TEST(!plans.cache.knows(1));
  for (int call = 0; call < 3; ++call) BOOST_TEST(plans.run(1));
  BOOST_TEST(plans.cache.knows(1));
  BOOST_TEST(plans.found == 1);
  BOOST_TEST(plans.computed == 10);
  BOOST_TEST(plans.run(1, kRecorded));
}

BOOST_AUTO_TEST_CASE(a_key_without_a_plan_is_not_asked_again) {
  Plans plans{.find_fails = ErrorKind::usage};
  BOOST_TEST(!plans.run(1));
  BOOST_TEST(plans.cache.refusal() == "found none");
  plans.find_fails = {};
  BOOST_TEST(!plans.run(1));
  BOOST_TEST(plans.found == 1);
  BOOST_TEST(plans.run(2));
}

BOOST_AUTO_TEST_CASE(where_no_memory_was_found_for_a_plan_it_is_looked_for_again) {
  Plans plans{.find_fails = ErrorKind::memory};
  BOOST_TEST(!plans.run(1));
  BOOST_TEST(plans.cache.refusal() == "found none");
  plans.find_fails = {};
  BOOST_TEST(plans.run(1));
  BOOST_TEST(plans.found == 2);
}

BOOST_AUTO_TEST_CASE(a_plan_that_found_no_memory_is_asked_again) {
  Plans plans{.compute_fails = ErrorKind::memory};
  for (int call = 0; call < 2; ++call) BOOST_TEST(!plans.run(1));
  BOOST_TEST(plans.cache.refusal() == "failed");
  BOOST_TEST(!plans.run(1, kRecorded));
  plans.compute_fails = {};
  BOOST_TEST(!plans.run(1, kRecorded));  // it never computed
  BOOST_TEST(plans.run(1));
  BOOST_TEST(plans.run(1, kRecorded));
  BOOST_TEST(plans.found == 1);
  plans.compute_fails = ErrorKind::memory;
  BOOST_TEST(!plans.run(1));
  BOOST_TEST(!plans.run(1, kRecorded));
  plans.compute_fails = {};
  BOOST_TEST(plans.run(1));
}

BOOST_AUTO_TEST_CASE(a_plan_that_never_computed_ends_with_its_first_error_and_one_that_has_throws) {
  Plans plans{.compute_fails = ErrorKind::usage};
  BOOST_TEST(!plans.run(1));
  plans.compute_fails = {};
  BOOST_TEST(!plans.run(1));
  BOOST_TEST(plans.run(2));
  plans.compute_fails = ErrorKind::usage;
  ratel::test::check_error([&] { plans.run(2); }, "failed");
}

BOOST_AUTO_TEST_CASE(nothing_is_decided_while_a_graph_is_recorded) {
  Plans plans;
  BOOST_TEST(!plans.run(1, kRecorded));
  BOOST_TEST(!plans.cache.knows(1));
  BOOST_TEST(plans.found == 0);
}
