#include "train/config.h"

#include "io/file.h"
#include "test/support/compare.h"

namespace train = ratel::train;
using ratel::ModelPattern;
using ratel::test::check_error;
using train::LayerValues;
using train::TrainConfig;

namespace {

TrainConfig from_toml(const std::string& text) {
  TrainConfig config;
  train::apply_toml(config, ratel::io::parse_toml(text, "run.toml"), "run.toml");
  return config;
}

TrainConfig overridden(const std::vector<std::string>& overrides) {
  TrainConfig config;
  train::apply_overrides(config, overrides);
  return config;
}

/// A config in which no field has its default value.
TrainConfig unusual() {
  TrainConfig c;
  c.preset = "small";
  c.model = {513, 3, 24, 3, ratel::Recurrence::none, 1e-5, 500.5};
  c.data = {48, 6, 3, 11, "none", -1};
  c.optimizer = {0.1, 1e-7, 0.3, 0.8, 0.99, 1e-9, 0.01, 2.5};
  c.train = {77, train::Joint::off, 16, {1, 4, -1}, {2}, {0, 1, 2}, 7, 5, 9, "cuda:1", ratel::DType::f64, 2, true};
  c.train.window.layers = {{2, 3, 4}};
  c.train.initial.layers[1] = {1, 0, 1};
  return c;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_field_survives_toml_and_json) {
  for (const TrainConfig& config : {TrainConfig(), unusual()}) {
    BOOST_TEST((from_toml(train::to_toml(config)) == config));
    BOOST_TEST((train::config_from_json(train::to_json(config), "state.json") == config));
    BOOST_TEST(train::changes_between(config, config).empty());
  }
}

BOOST_AUTO_TEST_CASE(the_table_covers_every_field_of_the_struct) {
  // Each field of unusual() differs from its default, so that a field the table forgets shows as one line too few.
  const auto before = train::to_json(TrainConfig()), after = train::to_json(unusual());
  for (const auto& [key, value] : before.as_object()) BOOST_TEST(after.at(key).dump() != value.dump(), key);
  BOOST_TEST(before.as_object().size() == train::config_fields().size());
  TrainConfig read_back = TrainConfig();
  read_back = train::config_from_json(after, "state.json");
  BOOST_TEST((read_back == unusual()));
}

BOOST_AUTO_TEST_CASE(a_preset_sets_the_sizes_that_its_own_layer_does_not_give) {
  const TrainConfig file = from_toml("[model]\nlayers = 7\npreset = \"1b\"\n");
  BOOST_TEST(file.model.layers == 7);
  BOOST_TEST(file.model.channels == 2048);
  BOOST_TEST(file.model.vocab_size == 32000);
  TrainConfig config = file;
  train::apply_overrides(config, {"--model.channels=64", "--model.preset=small"});
  BOOST_TEST(config.model.layers == 8);
  BOOST_TEST(config.model.channels == 64);
}

BOOST_AUTO_TEST_CASE(overrides_of_every_type) {
  const TrainConfig c = overridden({"--train.steps=12", "optimizer.peak_rate=3e-4", "--optimizer.clip=2",
                                    "--train.recompute=true", "--train.joint=sum", "--train.dilation=1,4,-1",
                                    "--train.window=5", "--train.dtype=f64", "--model.recurrence=none"});
  BOOST_TEST(c.train.steps == 12);
  BOOST_TEST(c.optimizer.peak_rate == 3e-4);
  BOOST_TEST(c.optimizer.clip == 2.0);
  BOOST_TEST(c.train.recompute);
  BOOST_TEST((c.train.joint == train::Joint::sum));
  BOOST_TEST((c.train.dilation == LayerValues{1, 4, -1}));
  BOOST_TEST((c.train.window == LayerValues{5}));
  BOOST_TEST((c.train.dtype == ratel::DType::f64));
  BOOST_TEST((c.model.recurrence == ratel::Recurrence::none));
}

BOOST_AUTO_TEST_CASE(a_pattern_by_layer_and_head) {
  TrainConfig config = from_toml("[train]\ndilation = [[1, 16], 4, 4, [8, 8]]\nwindow = [[0, 2]]\ninitial = 3\n");
  const ModelPattern pattern{
      {{{1, 0, 3}, {16, 2, 3}}, {{4, 0, 3}, {4, 2, 3}}, {{4, 0, 3}, {4, 2, 3}}, {{8, 0, 3}, {8, 2, 3}}}};
  BOOST_TEST((config.pattern() == pattern));
  BOOST_TEST(train::to_toml(config).find("dilation = [[1,16],4,4,[8,8]]\n") != std::string::npos);
  const std::vector<ModelPattern> patterns{{},
                                           ModelPattern::uniform({-1, 3, 2}),
                                           pattern,
                                           ModelPattern{{{{1}}, {{2}}, {{4}}, {{8, 0, 1}}}},
                                           ModelPattern{{{{1}, {16}}}}};
  for (const ModelPattern& each : patterns) {
    config.set_pattern(each);
    BOOST_TEST((config.pattern() == each));
  }
  config.set_pattern(ModelPattern::uniform({16, 0, 0}));
  BOOST_TEST((config.train.dilation == LayerValues{16}));
  check_error(
      [&] {
        config.set_pattern(ModelPattern::uniform({64, 0, 0, 8}));
      },
      "top-k blocks have no gradient; expected a dilated pattern, found D=64 K=8 last");
  config.train.dilation.layers = {{1, 2, 3}};
  check_error([&] { config.validate(); }, "dilation: expected one value, or one for each of 2 heads; found 3 values");
}

BOOST_AUTO_TEST_CASE(what_is_wrong_in_a_file_is_named_with_its_line) {
  const auto check_toml = [](const std::string& text, const std::string& message) {
    check_error([&] { from_toml(text); }, message);
    try {
      from_toml(text);
    } catch (const ratel::Error& error) {
      BOOST_TEST((error.kind() == ratel::ErrorKind::input), text);
    }
  };
  check_toml("[data]\n\nseq_length = 3\n",
             R"(run.toml:3: unknown key "data.seq_length"; the nearest is "data.seq_len")");
  check_toml("[data]\nseq_len = \"3\"\n", "run.toml:2: data.seq_len: expected an integer, found the string \"3\"");
  check_toml("[data]\nseq_len = 2.5\n", "run.toml:2: data.seq_len: expected an integer, found 2.5");
  check_toml("[data]\nseq_len = 0\n", "run.toml:2: data.seq_len: expected 1 or more, found 0");
  check_toml("[optimizer]\nwarmup_fraction = 1.5\n",
             "run.toml:2: optimizer.warmup_fraction: expected a number from 0 to 1, found 1.5");
  check_toml("[optimizer]\npeak_rate = nan\n", "run.toml:2: optimizer.peak_rate: expected");
  check_toml("[train]\njoint = \"both\"\n",
             R"(run.toml:2: train.joint: expected one of "alternate", "sum", "off", found the string "both")");
  check_toml("[train]\nrecompute = 1\n", "run.toml:2: train.recompute: expected true or false, found 1");
  check_toml("[train]\ndilation = []\n", "run.toml:2: train.dilation: expected at least one integer");
  check_toml("[train]\ndilation = [1, \"x\"]\n",
             "run.toml:2: train.dilation: expected an integer or a list of integers");
  check_toml("[train]\ndilation = [[1, [2]]]\n", "run.toml:2: train.dilation: expected an integer or a list");
  check_toml("[train]\ndilation = [[]]\n", "run.toml:2: train.dilation: expected an integer or a list");
  check_toml("[model]\npreset = \"huge\"\n", "run.toml:2: model.preset: rat_plus: no preset \"huge\"; there are tiny");
  check_toml("steps = 3\n", "run.toml:1: unknown key \"steps\"");
}

BOOST_AUTO_TEST_CASE(what_is_wrong_in_an_override_is_named) {
  check_error([] { overridden({"--train.stepz=3"}); },
              R"(--train.stepz=3: unknown key "train.stepz"; the nearest is "train.steps")");
  check_error([] { overridden({"--train.steps=many"}); },
              "--train.steps=many: train.steps: expected an integer, found the string \"many\"");
  check_error([] { overridden({"--train.steps="}); }, "expected an integer");
  check_error([] { overridden({"--train.steps=99999999999999999999"}); }, "expected an integer");
  check_error([] { overridden({"--train.dilation=4,,8"}); }, "expected an integer or a list of integers");
  check_error([] { overridden({"--train.recompute=yes"}); }, "expected true or false");
  check_error([] { overridden({"--train.steps"}); }, "expected --section.key=value, found \"--train.steps\"");
}

BOOST_AUTO_TEST_CASE(fields_that_do_not_fit_each_other_are_refused) {
  const auto check_invalid = [](const std::vector<std::string>& overrides, const std::string& message) {
    check_error([&] { train::load_config("", overrides); }, message);
  };
  check_invalid({"data.accumulate=3"}, "data.accumulate: expected a divisor of data.batch_size 8, found 3");
  check_invalid({"data.eos=257"}, "data.eos: expected a token below model.vocab_size 257");
  check_invalid({"model.heads=3"}, "3 heads do not divide 128 channels");
  check_invalid({"train.dilation=1,2"}, "dilation: expected one value, or one for each of 4 layers; found 2 values");
  check_invalid({"train.dilation=0"}, "dilation: expected 1 or more, or -1");
  check_invalid({"train.window=-1"}, "window: expected 0 or more, found -1");
  check_invalid({"model.vocab_size=256", "data.eos=-1"}, "256");  // fewer words than the tokenizer has
  TrainConfig config;
  config.train.steps = 0;
  check_error([&] { config.validate(); }, "train.steps: expected 1 or more, found 0");
}

BOOST_AUTO_TEST_CASE(changes_name_both_values_and_leave_out_what_may_change) {
  TrainConfig was, is;
  is.train.threads = 2;
  is.train.recompute = true;
  is.train.checkpoint_every = 1;
  is.train.keep_checkpoints = 9;
  is.preset = "small";
  BOOST_TEST(train::changes_between(was, is).empty());
  is.model.vocab_size = 300;
  is.train.dilation = {1, 2, 3, 4};
  const auto changes = train::changes_between(was, is);
  BOOST_REQUIRE(changes.size() == 2);
  BOOST_TEST(changes[0].key == "model.vocab_size");
  BOOST_TEST(changes[0].was == "257");
  BOOST_TEST(changes[0].is == "300");
  BOOST_TEST(changes[1].key == "train.dilation");
  BOOST_TEST(changes[1].is == "[1,2,3,4]");
}

BOOST_AUTO_TEST_CASE(the_presets_in_the_tree_are_valid) {
  for (const char* name : {"tiny", "small", "1b", "3b", "7b"}) {
    const TrainConfig config = train::load_config(std::string(RATEL_SOURCE_DIR "/configs/") + name + ".toml", {});
    BOOST_TEST(config.preset == name);
    BOOST_TEST((config.train.joint == train::Joint::alternate));
    BOOST_TEST(config.train.sparse_dilation == 64);
  }
}

BOOST_AUTO_TEST_CASE(vocabulary_and_end_of_text_follow_the_tokenizer) {
  const std::string model = RATEL_SOURCE_DIR "/test/golden/tokenizers/llama.model", data = "data.tokenizer=";
  const auto check_words = [](const std::vector<std::string>& overrides, int64_t vocab_size, int64_t eos) {
    const TrainConfig config = train::load_config("", overrides);
    BOOST_TEST(config.model.vocab_size == vocab_size);
    BOOST_TEST(config.data.eos == eos);
  };
  check_words({}, 257, 256);
  check_words({data + model}, 700, 2);
  check_words({data + model, "model.preset=small"}, 700, 2);
  check_words({data + model, "model.vocab_size=1024"}, 1024, 2);
  check_words({data + model, "--data.eos=-1"}, 700, -1);
  check_words({data + "none", "model.preset=1b"}, 32000, -1);
  check_words({data + "none", "model.vocab_size=50", "data.eos=7"}, 50, 7);
  check_error([&] { train::load_config("", {data + "byte"}); }, "expected bytes, none, or the path of a .model file");
  check_error([&] { train::load_config("", {data + "nowhere.model"}); }, "nowhere.model");
}
