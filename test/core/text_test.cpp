#include "core/text.h"

#include <boost/test/unit_test.hpp>
#include <vector>

using ratel::edit_distance;
using ratel::nearest;

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
