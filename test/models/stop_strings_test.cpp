#include "models/stop_strings.h"

#include <algorithm>

#include "test/support/compare.h"

using ratel::StopStrings;
namespace test = ratel::test;

namespace {

/// The definition, on the whole text.
std::string cut(const std::string& text, const std::vector<std::string>& strings) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& string : strings)
      if (std::string_view(text).substr(0, end).ends_with(string)) longest = std::max(longest, string.size());
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_may_begin_a_stop_string_is_held_back) {
  StopStrings stop({"###", "\n\n"});
  BOOST_TEST(stop.push("ab#") == "ab");
  BOOST_TEST(stop.push("#") == "");
  BOOST_TEST(stop.push("c#\n") == "##c#");
  BOOST_TEST(!stop.found());
  BOOST_TEST(stop.push("d") == "\nd");
  BOOST_TEST(stop.push("#") == "");
  BOOST_TEST(stop.push("##e") == "");
  BOOST_TEST(stop.found());
  BOOST_TEST(stop.push("more") == "");
  BOOST_TEST(stop.finish() == "");
}

BOOST_AUTO_TEST_CASE(a_text_without_one_comes_through_whole) {
  StopStrings stop({"abc"});
  BOOST_TEST(stop.push("xab") == "x");
  BOOST_TEST(stop.finish() == "ab");
  BOOST_TEST(!stop.found());
  StopStrings none({});
  BOOST_TEST(none.push("abc") == "abc");
  BOOST_TEST(none.finish() == "");
}

BOOST_AUTO_TEST_CASE(the_cut_does_not_depend_on_the_pieces) {
  // Strings that overlap themselves and each other, over two letters.
  const std::vector<std::vector<std::string>> sets{{"aab"},        {"abab", "ba"}, {"aa", "aaa"},
                                                   {"abba", "bb"}, {"b", "aaab"},  {"aaab", "b"},
                                                   {"aabaab"},     {"abc"},        {"baa", "abaa"}};
  ratel::Rng rng(1);
  for (const auto& strings : sets)
    for (int round = 0; round < 300; ++round) {
      std::string text;
      for (uint64_t size = rng.below(14); size > 0; --size) text += rng.below(2) == 0 ? 'a' : 'b';
      StopStrings stop(strings);
      std::string result;
      for (size_t at = 0; at < text.size();) {
        const size_t size = rng.below(5);
        result += stop.push(std::string_view(text).substr(at, size));
        at += size;
      }
      BOOST_TEST(stop.found() == (cut(text, strings) != text));
      BOOST_TEST(result + stop.finish() == cut(text, strings));
    }
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  test::check_error([] { StopStrings({"a", ""}); }, "a stop string is empty");
}
