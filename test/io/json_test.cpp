#include "io/json.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <string>

#include "io/limits.h"
#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::Json;
using ratel::io::JsonCursor;
using ratel::io::kJsonDepth;
using ratel::io::kJsonValues;
using ratel::io::parse_json;
using ratel::io::parse_json_members;
using ratel::test::check_error;
using ratel::test::exact_copy;

namespace {

Json parse(std::string_view text) {
  const auto copy = exact_copy(text);
  return parse_json({copy.data(), copy.size()}, "f.json");
}

void check_refused(std::string_view text, std::string_view part) {
  BOOST_TEST_CONTEXT("text: " << text) {
    check_error(ErrorKind::input, part, [&] { parse(text); });
    check_error(ErrorKind::input, "f.json:", [&] { parse(text); });
  }
}

constexpr std::string_view kSample =
    R"({"name": "r\u00e4tel \ud83d\ude00\n", "layers": [1, -2, 3.5, 1e-3], "deep": {"a": {"b": [true, false, null]}},
       "empty": {}, "none": []})";

}  // namespace

BOOST_AUTO_TEST_CASE(building_and_dumping) {
  const Json row = Json::object({{"step", 3},
                                 {"loss", 1.5},
                                 {"ok", true},
                                 {"name", "a\"b\\c\n\x01"},
                                 {"none", nullptr},
                                 {"shape", Json::array({2, 3})},
                                 {"empty", Json::object()}});
  BOOST_TEST(row.dump() ==
             R"({"step":3,"loss":1.5,"ok":true,"name":"a\"b\\c\n\u0001","none":null,"shape":[2,3],"empty":{}})");
  BOOST_TEST(Json::object({{"a", Json::array({1, Json::object({{"b", 2}})})}, {"c", Json::array()}}).dump(2) ==
             "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": []\n}");
  BOOST_TEST((parse(row.dump()) == row));
  BOOST_TEST((parse(row.dump(4)) == row));
}

BOOST_AUTO_TEST_CASE(every_kind_of_value_is_itself_again) {
  for (const Json& value :
       {Json(), Json(true), Json(false), Json(0), Json(std::numeric_limits<int64_t>::min()),
        Json(std::numeric_limits<int64_t>::max()), Json(3.0), Json(-0.0), Json(0.1), Json(1e300), Json(5e-324),
        Json(1.0 / 3), Json(123456789012345680.0), Json(std::numeric_limits<double>::max()), Json(""), Json("\x7f/é"),
        Json::array_of(std::vector<int>{1, 2})}) {
    BOOST_TEST_CONTEXT(value.dump()) {
      const Json again = parse(value.dump());
      BOOST_TEST((again == value));
      BOOST_TEST(again.is_int() == value.is_int());
      if (value.is_number()) BOOST_TEST(std::signbit(again.as_double()) == std::signbit(value.as_double()));
    }
  }
}

BOOST_AUTO_TEST_CASE(numbers) {
  BOOST_TEST(Json(3.0).dump() == "3.0");
  BOOST_TEST(Json(0.1f).as_double() == static_cast<double>(0.1f));
  BOOST_TEST(Json(std::nan("")).dump() == "null");
  BOOST_TEST(Json::array({INFINITY, -INFINITY}).dump() == "[null,null]");
  BOOST_TEST(parse("9223372036854775807").is_int());
  BOOST_TEST(parse("9223372036854775808").as_double() == 9223372036854775808.0);
  BOOST_TEST(parse("1000000000000000019884624838656").as_double() == 1e30);
  BOOST_TEST(parse("1e2").as_double() == 100);
  BOOST_TEST(!parse("1e2").is_int());
  check_error(ErrorKind::usage, "18446744073709551615", [] { return Json(std::numeric_limits<uint64_t>::max()); });
}

BOOST_AUTO_TEST_CASE(invalid_utf8_is_replaced_in_a_dump) {
  BOOST_TEST(Json("a\xff"
                  "b\xc3")
                 .dump() ==
             "\"a\xef\xbf\xbd"
             "b\xef\xbf\xbd\"");
  BOOST_TEST(Json("\xed\xa0\x80").dump() == "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");  // a surrogate
  BOOST_TEST(Json("\xc0\x80").dump() == "\"\xef\xbf\xbd\xef\xbf\xbd\"");                  // a long spelling of zero
}

BOOST_AUTO_TEST_CASE(parsing_keeps_order_and_kinds) {
  const Json json = parse(kSample);
  std::string keys;
  for (const auto& [key, value] : json.as_object()) keys += key + " ";
  BOOST_TEST(keys == "name layers deep empty none ");
  BOOST_TEST(json.at("name").as_string() == "r\u00e4tel \U0001f600\n");
  BOOST_TEST(json.at("layers").as_array()[1].as_int() == -2);
  BOOST_TEST(json.at("layers").as_array()[2].as_double() == 3.5);
  BOOST_TEST(json.at("deep").at("a").at("b").as_array()[2].is_null());
  BOOST_TEST((json.find("absent") == nullptr));
  BOOST_TEST((parse(json.dump()) == json));
}

BOOST_AUTO_TEST_CASE(what_is_refused) {
  check_refused("", "f.json:0: ");
  check_refused("  ", "unexpected end of input");
  check_refused("{", "unexpected end of input");
  check_refused("{\"a\": 1} x", "f.json:9: ");
  check_refused("1 2", "f.json:2: ");
  check_refused("[1,]", "f.json:3: ");
  check_refused("{'a': 1}", "invalid literal");
  check_refused("[1] // comment", "invalid literal");
  check_refused("NaN", "invalid literal");
  check_refused("01", "f.json:1: ");
  check_refused("1e999", "number overflow");
  check_refused("\"a\nb\"", "control character");
  check_refused(R"("\ud800")", "surrogate");
  check_refused("\"\xff\"", "ill-formed UTF-8");
  check_refused("\"\xed\xa0\x80\"", "ill-formed UTF-8");
  check_refused("\"\xc0\x80\"", "ill-formed UTF-8");
  check_refused("\xef\xbb\xbf{}", "byte order mark");
  check_refused({"{}\0", 3}, "f.json:2: expected JSON text, found a zero byte");
  check_refused({"{}\0garbage", 10}, "zero byte");
}

BOOST_AUTO_TEST_CASE(a_key_twice) {
  check_refused(R"({"a": 1, "b": {"a": 2}, "a": 3})", "f.json:27: the key \"a\" appears twice");
  check_refused(R"({"b": {"a": 2, "\u0061": 3}})", "appears twice");
  check_refused(R"({"\n": 2, "\n": 3})", R"(the key "\x0a" appears twice)");
  BOOST_TEST(parse(R"([{"a": 1}, {"a": 2}])").as_array().size() == 2u);
}

BOOST_AUTO_TEST_CASE(depth) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  BOOST_TEST(parse(nested(kJsonDepth)).is_array());
  check_refused(nested(kJsonDepth + 1), "f.json:17: nested too deeply");
  check_refused(std::string(1'000'000, '['), "nested too deeply");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  check_refused(objects, "nested too deeply");
}

BOOST_AUTO_TEST_CASE(too_many_values) {
  std::string text = "[0";
  for (size_t i = 0; i < kJsonValues; ++i) text += ",0";
  check_error(ErrorKind::input, "too many values", [&] { parse(text + "]"); });
}

BOOST_AUTO_TEST_CASE(every_prefix_is_refused) {
  for (size_t length = 0; length < kSample.size(); ++length)
    check_error(ErrorKind::input, "f.json:", [&] { parse(kSample.substr(0, length)); });
  BOOST_TEST(parse(kSample).is_object());
}

BOOST_AUTO_TEST_CASE(flipped_bits_never_crash) {
  size_t accepted = 0;
  for (size_t bit = 0; bit < kSample.size() * 8; ++bit) {
    std::string text(kSample);
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ 1 << bit % 8);
    accepted += ratel::test::succeeds_or_refuses([&] { parse(text); });
  }
  BOOST_TEST(accepted > 0u);
  BOOST_TEST(accepted < kSample.size() * 8);
}

BOOST_AUTO_TEST_CASE(accessors_say_what_they_found) {
  const Json json = parse(kSample);
  check_error(ErrorKind::input, "here: expected an integer, found 3.5",
              [&] { (void)json.at("layers").as_array()[2].as_int("here"); });
  check_error(ErrorKind::input, "expected a number, found the string", [&] { (void)json.at("name").as_double(); });
  check_error(ErrorKind::input, "expected a string, found an array of 4", [&] { (void)json.at("layers").as_string(); });
  check_error(ErrorKind::input, "expected an array, found an object of 1", [&] { (void)json.at("deep").as_array(); });
  check_error(ErrorKind::input, "expected an object, found null", [] { (void)Json().as_object(); });
  check_error(ErrorKind::input, "expected true or false, found 1", [] { (void)Json(1).as_bool(); });
  check_error(ErrorKind::input, "expected a member \"nome\", found name, layers", [&] { (void)json.at("nome"); });
  BOOST_TEST(Json(2).as_double() == 2.0);
}

BOOST_AUTO_TEST_CASE(a_cursor_knows_its_path) {
  const Json json = parse(kSample);
  const JsonCursor root(json, "c.json");
  BOOST_TEST(root["layers"][1].as_int() == -2);
  BOOST_TEST(root["layers"].size() == 4u);
  BOOST_TEST(root["deep"]["a"].where() == "c.json: deep.a");
  check_error(ErrorKind::input, "c.json: deep.a.b.0: expected an integer, found true",
              [&] { (void)root["deep"]["a"]["b"][0].as_int(); });
  check_error(ErrorKind::input, "c.json: deep.a: expected a member \"x\", found b",
              [&] { (void)root["deep"]["a"]["x"]; });
  check_error(ErrorKind::input, "c.json: layers: expected more than 4 elements, found 4",
              [&] { (void)root["layers"][4]; });
  check_error(ErrorKind::input, "c.json: expected an array, found an object", [&] { (void)root.size(); });
  BOOST_TEST(!root.find("absent").has_value());
  BOOST_TEST(root.find("name").has_value());
  check_error(ErrorKind::input, "c.json: name: expected an object", [&] { (void)root["name"].find("x"); });
}

BOOST_AUTO_TEST_CASE(setting_and_adding) {
  Json json;
  json.set("a", 1);
  json.set("b", 2);
  json.set("a", "x");
  BOOST_TEST(json.dump() == R"({"a":"x","b":2})");
  Json list;
  list.push_back(1);
  list.push_back("b");
  BOOST_TEST(list.dump() == R"([1,"b"])");
  check_error(ErrorKind::usage, "an array of 2", [&] { list.set("a", 1); });
  check_error(ErrorKind::usage, "an object of 2", [&] { json.push_back(1); });
}

BOOST_AUTO_TEST_CASE(members_one_by_one) {
  std::string seen;
  parse_json_members(R"( {"a": [1, {"x": 2}], "b": 3, "c": {}} )", "f.json", 100,
                     [&](const std::string& key, const Json& value, size_t offset) {
                       seen += key + value.dump() + std::to_string(offset) + " ";
                     });
  BOOST_TEST(seen == R"(a[1,{"x":2}]105 b3125 c{}133 )");
  const auto ignore = [](const std::string&, const Json&, size_t) {};
  check_error(ErrorKind::input, "f.json:107: the key \"a\" appears twice",
              [&] { parse_json_members(R"({"a":1,"a":2})", "f.json", 97, ignore); });
  check_error(ErrorKind::input, "expected an object, found an array",
              [&] { parse_json_members("[]", "f", 0, ignore); });
  check_error(ErrorKind::input, "expected an object, found 3", [&] { parse_json_members("3", "f", 0, ignore); });
}
