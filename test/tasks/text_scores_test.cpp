#include "tasks/text_scores.h"

#include <boost/test/unit_test.hpp>
#include <vector>

using ratel::tasks::string_match_all;

BOOST_AUTO_TEST_CASE(string_match_all_is_the_share_of_answers_that_occur) {
  const std::vector<std::string> answers = {"Paris", "12"};
  BOOST_TEST(string_match_all("It is PARIS.", answers) == 0.5);
  BOOST_TEST(string_match_all("paris, 412", answers) == 1.0);
  BOOST_TEST(string_match_all("", answers) == 0.0);
  BOOST_TEST(string_match_all("Paris", {}) == 0.0);
}
