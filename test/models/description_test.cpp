#include "models/description.h"

#include "test/support/compare.h"

using ratel::BlockScore;
using ratel::Error;
using ratel::ErrorKind;
using ratel::model_pattern_from_json;
using ratel::ModelDescription;
using ratel::ModelPattern;
using ratel::Pattern;
using ratel::rat_plus_config_from_json;
using ratel::RatPlusConfig;
using ratel::Recurrence;
using ratel::Tokenizer;
using ratel::io::Json;
using ratel::io::JsonCursor;
namespace test = ratel::test;

namespace {

const RatPlusConfig kConfig{300, 3, 16, 2, Recurrence::none, 1e-5, 5e5};

/// The config with one member changed; an undefined value takes it out.
Json changed(const std::string& name, const Json* value) {
  Json result = Json::object();
  const Json whole = to_json(kConfig);
  for (const auto& [key, old] : whole.as_object())
    if (key != name) result.set(key, old);
  if (value != nullptr) result.set(name, *value);
  return result;
}

void check_config_error(const Json& json, const std::string& part) {
  try {
    (void)rat_plus_config_from_json(JsonCursor(json, "config.json"));
    BOOST_ERROR("expected an error with " + part);
  } catch (const Error& error) {
    BOOST_TEST((error.kind() == ErrorKind::input));
    BOOST_TEST(std::string(error.what()).starts_with("config.json: "), error.what());
    BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, error.what());
  }
}

void check_pattern_error(const Json& json, const std::string& part) {
  try {
    (void)model_pattern_from_json(JsonCursor(json, "f"));
    BOOST_ERROR("expected an error with " + part);
  } catch (const Error& error) {
    BOOST_TEST((error.kind() == ErrorKind::input));
    BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, error.what());
  }
}

Json pattern_json(int64_t dilation, int64_t window, int64_t initial) {
  return Json::object({{"dilation", dilation}, {"window", window}, {"initial", initial}});
}

}  // namespace

BOOST_AUTO_TEST_CASE(configs_and_patterns_there_and_back) {
  for (const RatPlusConfig& config : {kConfig, RatPlusConfig{}}) {
    const Json json = to_json(config);
    BOOST_TEST((rat_plus_config_from_json(JsonCursor(ratel::io::parse_json(json.dump(2), "f"), "f")) == config));
  }
  for (const ModelPattern& pattern :
       {ModelPattern{}, ModelPattern::uniform({16, 7, 3}), ModelPattern{{{{1, 0, 0}, {-1, 4, 2}}, {{8, 0, 0}}}}}) {
    const Json json = to_json(pattern);
    BOOST_TEST((model_pattern_from_json(JsonCursor(json, "f")) == pattern));
  }
}

BOOST_AUTO_TEST_CASE(patterns_of_top_blocks_there_and_back) {
  const auto read = [](const Json& json) { return model_pattern_from_json(JsonCursor(json, "f")); };
  for (const BlockScore score : {BlockScore::last, BlockScore::mean, BlockScore::minmax}) {
    const Pattern top{.dilation = 64, .top_blocks = 8, .score = score};
    const ModelPattern pattern{{{top, {16, 7, 3}}}};
    const Json json = to_json(pattern);
    BOOST_TEST((read(json) == pattern));
    BOOST_TEST(json.as_array()[0].as_array()[0].as_object().size() == 5U);
    BOOST_TEST(json.as_array()[0].as_array()[1].as_object().size() == 3U, "a dilated one names no blocks");
  }
  Json json = pattern_json(4, 0, 0);
  json.set("top_blocks", 3);
  BOOST_TEST((read(Json::array({Json::array({json})})) == ModelPattern::uniform({.dilation = 4, .top_blocks = 3})));
  json.set("score", "best");
  check_pattern_error(Json::array({Json::array({json})}),
                      R"(score: expected "last" or "mean" or "minmax", found "best")");
  json.set("top_blocks", 1);
  json.set("score", "mean");
  check_pattern_error(Json::array({Json::array({json})}), "top-k needs at least 2 blocks");
  Json alone = pattern_json(4, 0, 0);
  alone.set("score", "mean");
  check_pattern_error(Json::array({Json::array({alone})}), "score: only top-k blocks have a score");
}

BOOST_AUTO_TEST_CASE(every_damaged_member_of_a_config_is_named) {
  const Json text = "x", list = Json::array(), fraction = 4.0, negative = -1, three = 3;
  const Json whole = to_json(kConfig);
  for (const auto& [name, value] : whole.as_object()) {
    check_config_error(changed(name, nullptr), name);
    check_config_error(changed(name, &list), name);
    check_config_error(changed(name, &negative), name);
    if (value.is_int()) check_config_error(changed(name, &fraction), name);
    if (!value.is_string()) check_config_error(changed(name, &text), name);
  }
  check_config_error(changed("recurrence", &text), R"(expected "gated" or "none", found "x")");
  check_config_error(changed("heads", &three), "3 heads do not divide 16 channels");
  check_config_error(list, "object");
}

BOOST_AUTO_TEST_CASE(all_unknown_members_are_listed_at_once) {
  Json json = to_json(kConfig);
  json.set("chanels", 3);
  json.set("bias", true);
  check_config_error(json, R"(unknown: "chanels" (the nearest is "channels"), "bias")");
}

BOOST_AUTO_TEST_CASE(damaged_patterns_are_named) {
  check_pattern_error(Json::array(), "one layer or more");
  check_pattern_error(Json::array({Json::array()}), "one head or more");
  check_pattern_error(Json::object(), "array");
  check_pattern_error(Json::array({Json::array({1})}), "object");
  check_pattern_error(Json::array({Json::array({pattern_json(0, 0, 0)})}), "dilation");
  check_pattern_error(Json::array({Json::array({pattern_json(1, -1, 0)})}), "window");
  check_pattern_error(Json::array({Json::array({Json::object({{"dilation", 1}, {"window", 0}})})}), "initial");
  Json extra = pattern_json(1, 0, 0);
  extra.set("sinks", 1);
  check_pattern_error(Json::array({Json::array({extra})}), "unknown: \"sinks\"");
}

BOOST_AUTO_TEST_CASE(a_description_must_fit_together) {
  ModelDescription description{{257, 3, 16, 2}, Tokenizer::bytes(), ModelPattern::uniform({4, 0, 0})};
  description.validate();
  description.config.vocab_size = 256;
  test::check_error([&] { description.validate(); }, "the tokenizer bytes needs 257 words, found vocab_size 256");
  description.tokenizer = std::nullopt;
  description.validate();
  description.adapted = ModelPattern{{{{}}, {{}}}};
  test::check_error([&] { description.validate(); }, "expected patterns for 1 or 3 layers, found 2");
}
