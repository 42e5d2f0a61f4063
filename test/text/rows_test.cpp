#include "text/rows.h"

#include <boost/test/unit_test.hpp>

#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::text_of_row;
using ratel::test::check_error;

BOOST_AUTO_TEST_CASE(the_text_of_a_row) {
  BOOST_TEST(text_of_row(R"({"id": 1, "text": "a\nb\u00e9\ud83d\ude00", "meta": {"x": [1]}})", "text", "r:1") ==
             "a\nb\u00e9\U0001f600");
  BOOST_TEST(text_of_row("{\"content\":\"\"}\r", "content", "r:1").empty());
  BOOST_TEST(text_of_row(R"({"text":"\u0000"})", "text", "r:1") == std::string(1, '\0'));
  const auto refused = [](std::string_view row, std::string_view message) {
    const auto copy = ratel::test::exact_copy(row);
    check_error(ErrorKind::input, message, [&] { text_of_row({copy.data(), copy.size()}, "text", "r.jsonl:7"); });
  };
  refused("{\"text\": 5}", "r.jsonl:7: text: expected a string, found 5");
  refused("{\"text\": null}", "r.jsonl:7: text: expected a string, found null");
  refused("{\"id\": 5}", "r.jsonl:7: expected a member \"text\", found id");
  refused("[1]", "r.jsonl:7: expected an object, found an array of 1");
  refused(R"({"text": "a"} x)", "r.jsonl:7:14: ");
  refused(R"({"text": "a", "text": "b"})", "the key \"text\" appears twice");
  refused("{\"text\": \"\xff\"}", "r.jsonl:7:10: ");
  refused(R"({"text": "\ud800"})", "r.jsonl:7:");
  refused("", "r.jsonl:7:0: ");
  const std::string whole = R"({"id": 1, "text": "a\nb\u00e9", "meta": {"x": [1.5e3, true, null]}})";
  for (size_t size = 0; size < whole.size(); ++size) refused(whole.substr(0, size), "r.jsonl:7:");
}
