// Scores by hand, and against those of a second implementation: test/golden/text_scores.json.
#include "tasks/text_scores.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <vector>

#include "io/json.h"

using ratel::tasks::classification_score;
using ratel::tasks::normalized_answer;
using ratel::tasks::rouge_l;
using ratel::tasks::string_match_all;
using ratel::tasks::text_score;
using ratel::tasks::TextMetric;
using ratel::tasks::token_f1;
using Texts = std::vector<std::string>;

BOOST_AUTO_TEST_CASE(answers_are_normalised) {
  BOOST_TEST(normalized_answer(" The  Eiffel-Tower's\ttop, an A! ") == "eiffeltowers top");
  BOOST_TEST(normalized_answer("Another theme") == "another theme");
  BOOST_TEST(normalized_answer("a, the.").empty());
}

BOOST_AUTO_TEST_CASE(f1_counts_words_as_often_as_both_have_them) {
  // Said: red red blue. Expected: red green. One word in common: P = 1/3, R = 1/2.
  BOOST_TEST(std::abs(token_f1("red, red blue", "the red green") - 0.4) < 1e-15);
  BOOST_TEST(token_f1("Red.", "red") == 1.0);
  BOOST_TEST(token_f1("", "red") == 0.0);
  BOOST_TEST(token_f1("the", "the") == 0.0);
}

BOOST_AUTO_TEST_CASE(rouge_l_is_of_the_longest_common_subsequence) {
  // Lin's example: P = R = 3/4 and 1/2.
  BOOST_TEST(rouge_l("police kill the gunman", "police killed the gunman") == 0.75);
  BOOST_TEST(rouge_l("the gunman kill police", "police killed the gunman") == 0.5);
  BOOST_TEST(rouge_l("...", "police") == 0.0);
}

BOOST_AUTO_TEST_CASE(classification_shares_the_score_among_the_classes_named) {
  const Texts classes = {"Food", "Food source", "City"};
  BOOST_TEST(classification_score("City", "City", classes) == 1.0);
  BOOST_TEST(classification_score("City or Food", "City", classes) == 0.5);
  BOOST_TEST(classification_score("Food source", "Food source", classes) == 1.0);  // Food is a part of it
  BOOST_TEST(classification_score("Food source", "Food", classes) == 0.5);
  BOOST_TEST(classification_score("city", "City", classes) == 0.0);
  BOOST_TEST(classification_score("Village", "Village", classes) == 0.0);
}

BOOST_AUTO_TEST_CASE(string_match_all_is_the_share_of_answers_that_occur) {
  const Texts answers = {"Paris", "12"};
  BOOST_TEST(string_match_all("It is PARIS.", answers) == 0.5);
  BOOST_TEST(string_match_all("paris, 412", answers) == 1.0);
  BOOST_TEST(string_match_all("", answers) == 0.0);
  BOOST_TEST(string_match_all("Paris", {}) == 0.0);
}

BOOST_AUTO_TEST_CASE(the_best_of_the_answers_counts) {
  const Texts answers = {"red", "blue sky"}, none;
  BOOST_TEST(text_score(TextMetric::exact_match, "The blue sky.", answers) == 1.0);
  BOOST_TEST(text_score(TextMetric::exact_match, "sky", answers) == 0.0);
  BOOST_TEST(text_score(TextMetric::string_match, "blue sky", answers) == 0.5);
  BOOST_TEST(text_score(TextMetric::f1, "red", none) == 0.0);
}

BOOST_AUTO_TEST_CASE(they_are_those_of_a_second_implementation) {
  const auto cases = ratel::io::read_json_file(std::string(RATEL_SOURCE_DIR) + "/test/golden/text_scores.json");
  BOOST_TEST(cases.as_array().size() == 75u);
  const auto texts = [](const ratel::io::Json& list) {
    Texts result;
    for (const auto& text : list.as_array()) result.push_back(text.as_string());
    return result;
  };
  for (const auto& each : cases.as_array())
    for (const auto& [metric, name] : names_of(TextMetric{})) {
      const double found =
          text_score(metric, each.at("prediction").as_string(), texts(each.at("answers")), texts(each.at("classes")));
      BOOST_TEST(std::abs(found - each.at(name).as_double()) < 1e-14,
                 name << " of '" << each.at("prediction").as_string() << "': " << found << ", expected "
                      << each.at(name).as_double());
    }
}
