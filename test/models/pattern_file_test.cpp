#include "models/pattern_file.h"

#include "io/file.h"
#include "models/description.h"
#include "test/support/compare.h"
#include "test/support/temporary_folder.h"

using ratel::BlockScore;
using ratel::Error;
using ratel::ErrorKind;
using ratel::ModelPattern;
using ratel::parse_pattern;
using ratel::Pattern;
using ratel::RatPlusConfig;
namespace test = ratel::test;

namespace {

const RatPlusConfig kConfig{257, 4, 16, 2};  // 4 layers of 2 heads

ModelPattern parse(std::string_view text, const std::string& path = "p.toml", const RatPlusConfig& config = kConfig) {
  return parse_pattern(text, path, config);
}

/// Every layer and head, however the pattern is written down.
std::vector<Pattern> spelled_out(const ModelPattern& pattern, const RatPlusConfig& config = kConfig) {
  std::vector<Pattern> all;
  for (int64_t layer = 0; layer < config.layers; ++layer)
    for (const Pattern& p : ratel::one_a_head(pattern.of_layer(layer, config.layers), config.heads)) all.push_back(p);
  return all;
}

void check_refused(std::string_view text, const std::string& message, const std::string& path = "p.toml") {
  BOOST_TEST_CONTEXT(text) try {
    (void)parse(text, path);
    BOOST_ERROR("expected: " + message);
  } catch (const Error& error) {
    BOOST_TEST((error.kind() == ErrorKind::input));
    BOOST_TEST(error.what() == message);
  }
}

constexpr std::string_view kMixed = R"(
dilation = 16
window = 64
initial = 4
[[layer]]
dilation = [1, 16]
[[layer]]
repeat = 2
[[layer]]
dilation = 32
top_blocks = [8, 0]
score = "mean"
)";

const ModelPattern kMixedPattern{
    {{{1, 64, 4}, {16, 64, 4}}, {{16, 64, 4}}, {{16, 64, 4}}, {{32, 0, 0, 8, BlockScore::mean}, {32, 64, 4}}}};

}  // namespace

BOOST_AUTO_TEST_CASE(one_table_is_for_all_layers) {
  BOOST_TEST((parse("dilation = 16") == ModelPattern::uniform({16})));
  BOOST_TEST((parse("dilation = -1\nwindow = 64\ninitial = 4 # sinks") == ModelPattern::uniform({-1, 64, 4})));
  BOOST_TEST((parse("window = 3") == ModelPattern::uniform({1, 3})));
  BOOST_TEST((parse("dilation = [1, 16]") == ModelPattern{{{{1}, {16}}}}));  // one a head
  BOOST_TEST((parse("dilation = 64\ntop_blocks = 8\nscore = \"minmax\"") ==
              ModelPattern::uniform({64, 0, 0, 8, BlockScore::minmax})));
  BOOST_TEST((parse("dilation = [4, 8]\ntop_blocks = [0, 3]\nwindow = [5, 0]\nscore = [\"mean\", \"last\"]") ==
              ModelPattern{{{{4, 5}, {8, 0, 0, 3}}}}));  // the score of a dilated head means nothing
}

BOOST_AUTO_TEST_CASE(layers_say_what_is_different) {
  BOOST_TEST((parse(kMixed) == kMixedPattern));
  // Blocks that all layers have, and one layer that does not.
  BOOST_TEST((spelled_out(parse("dilation = 8\ntop_blocks = 4\n[[layer]]\ntop_blocks = 0\nwindow = 3\n"
                                "[[layer]]\nrepeat = 3")) ==
              spelled_out({{{{8, 3}}, {{8, 0, 0, 4}}, {{8, 0, 0, 4}}, {{8, 0, 0, 4}}}})));
  // Layers that are all alike are one pattern.
  BOOST_TEST((parse("[[layer]]\nrepeat = 4\ndilation = [2, 2]") == ModelPattern::uniform({2})));
  // As inline tables.
  BOOST_TEST((parse("layer = [{dilation = 2, repeat = 3}, {}]") == ModelPattern{{{{2}}, {{2}}, {{2}}, {{1}}}}));
}

BOOST_AUTO_TEST_CASE(json_says_the_same) {
  BOOST_TEST((parse(R"({"dilation": 16, "window": 64, "initial": 4, "layer": [{"dilation": [1, 16]}, {"repeat": 2},
                        {"dilation": 32, "top_blocks": [8, 0], "score": "mean"}]})",
                    "p.json") == kMixedPattern));
  const ModelPattern dilated{{{{1, 2, 3}, {-1, 4, 0}}, {{8}}, {{8}}, {{16}}}};
  BOOST_TEST((parse(to_json(dilated).dump(), "p.json") == dilated));
  BOOST_TEST((parse(to_json(kMixedPattern).dump(), "p.json") == kMixedPattern));
  BOOST_TEST((parse(to_json(ModelPattern::uniform({16, 1})).dump(2), "p.json") == ModelPattern::uniform({16, 1})));
}

BOOST_AUTO_TEST_CASE(what_is_written_reads_back) {
  const std::vector<ModelPattern> patterns{
      {},
      ModelPattern::uniform({16, 7, 3}),
      ModelPattern{{{{1}, {-1, 4, 2}}}},
      kMixedPattern,
      ModelPattern{{{{2}}, {{2}}, {{2}, {2}}, {{64, 0, 0, 8, BlockScore::minmax}, {64, 0, 0, 2}}}}};
  for (const ModelPattern& pattern : patterns) {
    const std::string text = to_toml(pattern, "found by hand\n\nin two lines");
    BOOST_TEST_CONTEXT(text) {
      BOOST_TEST(text.starts_with("# found by hand\n#\n# in two lines\n"));
      BOOST_TEST((spelled_out(parse(text)) == spelled_out(pattern)));
    }
  }
  BOOST_TEST(to_toml(ModelPattern{}) == "dilation = 1\n");
  BOOST_TEST(to_toml(kMixedPattern) == R"(
[[layer]]
dilation = [1, 16]
window = 64
initial = 4

[[layer]]
dilation = 16
window = 64
initial = 4
repeat = 2

[[layer]]
dilation = 32
window = [0, 64]
initial = [0, 4]
top_blocks = [8, 0]
score = ["mean", "last"]
)");
}

BOOST_AUTO_TEST_CASE(files) {
  const test::TemporaryFolder scratch;
  const ModelPattern pattern{{{{1, 2, 3}, {-1, 4, 0}}, {{8}}, {{8}}, {{16}}}};
  for (const char* name : {"p.toml", "p.json", "pattern"}) {
    ratel::write_pattern_file(scratch / name, pattern, "a comment");
    BOOST_TEST((ratel::read_pattern_file(scratch / name, kConfig) == pattern));
  }
  BOOST_TEST(ratel::io::read_text_file(scratch / "p.json", 1000).starts_with("[\n"));
  test::check_error([&] { ratel::read_pattern_file(scratch / "none", kConfig); }, "none");
  test::check_error([&] { ratel::write_pattern_file(scratch / "none/p.toml", pattern); }, "none/p.toml");
}

BOOST_AUTO_TEST_CASE(the_example_in_the_readme_is_one) {
  const std::string readme = ratel::io::read_text_file(RATEL_SOURCE_DIR "/README.md", 1'000'000);
  const size_t section = readme.find("### Pattern files"), fence = readme.find("```toml\n", section);
  const size_t begin = readme.find('\n', fence) + 1, end = readme.find("```", begin);
  BOOST_TEST_REQUIRE((fence != std::string::npos && end != std::string::npos));
  const ModelPattern expected{
      {{{1, 64, 4}, {16, 64, 4}}, {{16, 64, 4}}, {{16, 64, 4}}, {{64, 0, 0, 8, BlockScore::mean}}}};
  BOOST_TEST((parse(readme.substr(begin, end - begin)) == expected));
}

BOOST_AUTO_TEST_CASE(unknown_keys_are_named_with_their_line) {
  check_refused("dilation = 2\ndilatoin = 3", R"(p.toml:2: unknown key "dilatoin"; the nearest is "dilation")");
  check_refused("[[layer]]\n\nblocks = 3", R"(p.toml:3: unknown key "blocks"; the nearest is "top_blocks")");
  check_refused("zzz = 3", R"(p.toml:1: unknown key "zzz")");
  check_refused("[[layers]]\ndilation = 3", R"(p.toml:1: unknown key "layers[0]"; the nearest is "layer")");
  check_refused("[[layer]]\n[layer.head]\ndilation = 3",
                R"(p.toml:3: unknown key "head.dilation"; the nearest is "dilation")");
  for (const char* text : {"layer = 3", "layer = []", "layer = [1, 2]"})
    check_refused(text, R"(p.toml:1: expected a table [[layer]] for each layer, found "layer")");
  check_refused("[layer]\ndilation = 2",
                R"(p.toml:2: expected a table [[layer]] for each layer, found "layer.dilation")");
  check_refused(R"({"layer": [{"dilation": 2}, {"windows": 2}]})",
                R"(p.json: layer.1: unknown key "windows"; the nearest is "window")", "p.json");
  check_refused(R"({"dilations": 2})", R"(p.json: unknown key "dilations"; the nearest is "dilation")", "p.json");
}

BOOST_AUTO_TEST_CASE(values_that_cannot_be) {
  check_refused("dilation = 0", "p.toml:1: dilation: expected 1 or more, or -1 for no dilated keys, found 0");
  check_refused("dilation = 1.5", "p.toml:1: dilation: expected 1 or more, or -1 for no dilated keys, found 1.5");
  check_refused("[[layer]]\nwindow = -1", "p.toml:2: window: expected 0 or more, found -1");
  for (const std::string key : {"dilation", "window", "initial", "top_blocks"})
    check_refused("\n" + key + " = 1099511627777",
                  "p.toml:2: " + key + ": expected at most 1099511627776, found 1099511627777");
  check_refused(R"({"layer": [{}, {"window": [3, 1099511627777]}]})",
                "p.json: layer.1.window: expected at most 1099511627776, found 1099511627777", "p.json");
  check_refused(R"(initial = [0, "x"])", R"(p.toml:1: initial: expected 0 or more, found the string "x")");
  check_refused(
      "top_blocks = 1",
      "p.toml:1: top_blocks: expected 2 or more (the first block and the query's own are two of them), or 0, found 1");
  check_refused("top_blocks = 2\nscore = \"best\"",
                R"(p.toml:2: score: expected "last", "mean", "minmax", found the string "best")");
  check_refused("[[layer]]\nrepeat = 0", "p.toml:2: repeat: expected a number of layers from 1 to 10000, found 0");
  check_refused("repeat = 2", "p.toml:1: repeat: belongs below [[layer]]");
  check_refused("", "p.toml: expected a pattern, found none; dilation = 1 is the dense one");
  check_refused("dilation = ", "p.toml:1: Error while parsing key-value pair: encountered end-of-file");
  check_refused(R"({"layer": [{"dilation": 0}]})",
                "p.json: layer.0.dilation: expected 1 or more, or -1 for no dilated keys, found 0", "p.json");
  check_refused(R"({"layer": 3})", "p.json: layer: expected an array, found 3", "p.json");
  check_refused(R"({"dilation": 2, "layer": []})", "p.json: layer: expected an object for each layer, found none",
                "p.json");
  check_refused(R"({"layer": [3]})", "p.json: layer.0: expected an object, found 3", "p.json");
  check_refused("3", "p.json: expected an object, found 3", "p.json");
}

BOOST_AUTO_TEST_CASE(blocks_have_neither_window_nor_initial_tokens) {
  check_refused("top_blocks = 2\nwindow = 3", "p.toml:2: window: expected 0, since head 0 has top-k blocks, found 3");
  check_refused("window = 3\ntop_blocks = 2\n[[layer]]\nrepeat = 4",
                "p.toml:1: window: expected 0, since head 0 has top-k blocks, found 3");
  check_refused("[[layer]]\ntop_blocks = [0, 2]\ninitial = 3",
                "p.toml:3: initial: expected 0, since head 1 has top-k blocks, found 3");
  check_refused("[[layer]]\ntop_blocks = 2\ndilation = -1",
                "p.toml:3: dilation: expected the size of a block, 1 or more, found -1");
  check_refused("dilation = 3\nscore = \"mean\"", "p.toml:2: score: is of top-k blocks, and there is no top_blocks");
}

BOOST_AUTO_TEST_CASE(counts_that_do_not_fit_the_model) {
  check_refused("\ndilation = [1, 2, 3]",
                "p.toml:2: dilation: expected one value, or a list of one for each of 2 heads, found a list of 3");
  check_refused("dilation = []",
                "p.toml:1: dilation: expected one value, or a list of one for each of 2 heads, found a list of 0");
  check_refused("[[layer]]\n[[layer]]\n[[layer]]", "p.toml: expected [[layer]] for each of 4 layers, found 3");
  check_refused("[[layer]]\nrepeat = 9999", "p.toml: expected [[layer]] for each of 4 layers, found 9999");
  check_refused(to_json(ModelPattern{{{{}}, {{}}, {{}}}}).dump(),
                "p.json: pattern: expected patterns for 1 or 4 layers, found 3", "p.json");
  check_refused(to_json(ModelPattern{{{{}, {}, {}}}}).dump(),
                "p.json: pattern of layer 0: expected one pattern, or one for each of 2 heads, found 3", "p.json");
}

BOOST_AUTO_TEST_CASE(a_damaged_text_is_a_pattern_or_one_error) {
  const std::string json = R"({"dilation": 16, "layer": [{"repeat": 3}, {"top_blocks": [8, 0], "score": "mean"}]})";
  const std::string lists = to_json(ModelPattern::uniform({16, 1, 2})).dump();
  ratel::Rng rng(1);
  int64_t patterns = 0;
  for (const auto& [path, text] : {std::pair{"p.toml", std::string(kMixed)}, {"p.json", json}, {"p.json", lists}})
    for (int round = 0; round < 3000; ++round) {
      std::string damaged = text;
      for (uint64_t edits = rng.below(3) + 1; edits > 0; --edits) {
        const size_t at = rng.below(damaged.size()), from = rng.below(text.size());
        if (rng.below(2) == 0)
          damaged.replace(at, rng.below(3), text, from, rng.below(12));
        else
          damaged[at] = static_cast<char>(rng.below(256));
      }
      try {
        parse(damaged, path).check_fits(kConfig);
        ++patterns;
      } catch (const Error& error) {
        BOOST_TEST((error.kind() == ErrorKind::input), damaged);
        BOOST_TEST(std::string(error.what()).starts_with(path));
      }
    }
  BOOST_TEST(patterns > 50);
}
