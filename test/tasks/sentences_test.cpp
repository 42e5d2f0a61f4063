#include "tasks/sentences.h"

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "core/error.h"

namespace ratel::tasks {
namespace {

std::vector<std::string> first(size_t count, std::string_view text, size_t from = 0) {
  Sentences sentences(text, from);
  std::vector<std::string> all;
  for (size_t i = 0; i < count; ++i) all.push_back(sentences.next());
  return all;
}

void check_first(const std::vector<std::string>& expected, std::string_view text, size_t from = 0) {
  const auto found = first(expected.size(), text, from);
  BOOST_TEST(found == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_sentence_ends_after_its_point_and_closing_quotes) {
  check_first({"One two.", "\"Three!\"", "(Four?)", "A \u201cfive.\u201d", "Six", "One two."},
              "  One\n two. \"Three!\" (Four?)\tA \u201cfive.\u201d Six");
}

BOOST_AUTO_TEST_CASE(no_point_inside_a_word_or_after_a_short_word_with_a_capital_ends_it) {
  check_first({"Mr. J. Knightley paid 3.50 to Mrs. Weston.", "It was so."},
              "Mr. J. Knightley paid 3.50 to Mrs. Weston. It was so.");
}

BOOST_AUTO_TEST_CASE(a_blank_line_ends_it_and_one_line_break_does_not) {
  check_first({"CHAPTER I", "Emma Woodhouse, handsome.", "CHAPTER I"}, "CHAPTER I\r\n\r\nEmma Woodhouse,\nhandsome.\n");
}

BOOST_AUTO_TEST_CASE(it_begins_with_the_first_sentence_after_a_place) {
  const std::string_view text = "First. Second. Third.";
  check_first({"Second.", "Third.", "First."}, text, 2);
  check_first({"First."}, text, text.size() - 1);  // nothing begins after it
}

BOOST_AUTO_TEST_CASE(a_long_one_ends_before_a_word) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "word ";
  const auto found = first(2, text);
  BOOST_TEST(found[0].size() == 304U);  // the first end of a word at 300 bytes or more
  BOOST_TEST(found[0].ends_with("word"));
  BOOST_TEST(found[1].starts_with("word"));
}

BOOST_AUTO_TEST_CASE(a_text_without_spaces_is_cut_between_characters) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "\u4f60";  // of three bytes
  for (const std::string& sentence : first(4, text)) {
    BOOST_TEST(sentence.size() <= Sentences::kLongestSentence);
    BOOST_TEST(sentence.size() % 3 == 0U);
  }
  for (const std::string& sentence : first(4, std::string(1000, '\x80')))  // which is no UTF-8
    BOOST_TEST(sentence.size() <= Sentences::kLongestSentence);
}

BOOST_AUTO_TEST_CASE(white_space_alone_has_none) {
  BOOST_CHECK_THROW(Sentences(" \n\t "), Error);
  BOOST_CHECK_THROW(Sentences(""), Error);
  BOOST_CHECK_THROW(Sentences("One.", 4), Error);
}

}  // namespace
}  // namespace ratel::tasks
