#include "core/text.h"

#include <boost/test/unit_test.hpp>
#include <locale>
#include <vector>

#include "core/error.h"

using ratel::edit_distance;
using ratel::nearest;
using ratel::split;
using ratel::to_number;

BOOST_AUTO_TEST_CASE(distances) {
  BOOST_TEST(edit_distance("", "") == 0U);
  BOOST_TEST(edit_distance("", "abc") == 3U);
  BOOST_TEST(edit_distance("abc", "") == 3U);
  BOOST_TEST(edit_distance("window", "window") == 0U);
  BOOST_TEST(edit_distance("window", "widow") == 1U);
  BOOST_TEST(edit_distance("dilatoin", "dilation") == 2U);
  BOOST_TEST(edit_distance("kitten", "sitting") == 3U);
  BOOST_TEST(edit_distance("sitting", "kitten") == 3U);
}

BOOST_AUTO_TEST_CASE(the_nearest_name_is_suggested_only_where_it_is_near) {
  const std::vector<std::string> keys{"layers", "channels", "heads", "head"};
  BOOST_TEST(nearest("chanels", keys) == "channels");
  BOOST_TEST(nearest("layer", keys) == "layers");
  BOOST_TEST(nearest("head", keys) == "head");
  BOOST_TEST(nearest("heada", keys) == "heads");
  BOOST_TEST(nearest("optimizer", keys) == "");
  BOOST_TEST(nearest("", keys) == "");
  BOOST_TEST(nearest("layers", std::vector<std::string_view>{}) == "");
  BOOST_TEST(nearest(std::string(100'000, 'x'), keys) == "");
}

BOOST_AUTO_TEST_CASE(parts_between_separators) {
  using Parts = std::vector<std::string_view>;
  BOOST_TEST((split("", ',') == Parts{""}));
  BOOST_TEST((split("1", ',') == Parts{"1"}));
  BOOST_TEST((split("1,,-2,", ',') == Parts{"1", "", "-2", ""}));
}

BOOST_AUTO_TEST_CASE(numbers_are_the_whole_text) {
  BOOST_TEST(to_number<int64_t>("-12").value() == -12);
  BOOST_TEST(to_number<double>("1e-3").value() == 1e-3);
  for (const char* text : {"", " 1", "1 ", "+1", "1.5", "one", "9223372036854775808"})
    BOOST_TEST(!to_number<int64_t>(text).has_value(), text);
}

namespace {

/// 1.234,5
struct Grouped : std::numpunct<char> {
  [[nodiscard]] char do_thousands_sep() const override { return '.'; }
  [[nodiscard]] char do_decimal_point() const override { return ','; }
  [[nodiscard]] std::string do_grouping() const override { return "\3"; }
};

}  // namespace

// Files and their names are made of it.
BOOST_AUTO_TEST_CASE(text_does_not_depend_on_the_program_s_locale) {
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Grouped));
  const std::string text = ratel::concat_text(1000, " x ", 0.5);
  std::locale::global(before);
  BOOST_TEST(text == "1000 x 0.5");
}
