#include "train/schedule.h"

#include <cmath>

#include "test/support/compare.h"
#include "test/support/golden.h"

using ratel::test::check_error;
using ratel::train::learning_rate;

BOOST_AUTO_TEST_CASE(the_rates_of_both_golden_runs) {
  for (const auto& [name, warmup] : {std::pair{"training_joint", 0.05}, std::pair{"training_adapt", 0.0}}) {
    const ratel::test::Golden golden(name);
    const auto rates = ratel::to_vector<double>(golden["learning_rate"]);
    for (size_t step = 0; step < rates.size(); ++step)
      BOOST_TEST(std::abs(learning_rate(static_cast<int64_t>(step), 20, 1e-2, warmup, 1e-6) - rates[step]) <= 1e-17);
  }
}

BOOST_AUTO_TEST_CASE(the_edges) {
  BOOST_TEST(learning_rate(0, 1, 2, 0, 0.5) == 2);     // one step: no warm-up, the cosine's start
  BOOST_TEST(learning_rate(0, 10, 2, 0.5, 0) == 0.4);  // first of five warm-up steps
  BOOST_TEST(learning_rate(4, 10, 2, 0.5, 0) == 2);    // last
  BOOST_TEST(learning_rate(5, 10, 2, 0.5, 0) == 2);    // the cosine starts at the peak
  BOOST_TEST(learning_rate(9, 10, 2, 1, 0) == 2);      // nothing but warm-up
  BOOST_TEST(learning_rate(0, 19, 2, 0.05, 0) == 2);   // int(0.95) = 0 warm-up steps
  check_error([] { learning_rate(10, 10, 2, 0.5, 0); }, "expected a step below 10, found 10");
  check_error([] { learning_rate(-1, 10, 2, 0.5, 0); }, "found -1");
}
