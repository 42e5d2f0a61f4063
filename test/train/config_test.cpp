#include "train/config.h"

#include <cmath>
#include <filesystem>
#include <tuple>

#include "io/file.h"
#include "test/support/compare.h"
#include "test/support/temporary_folder.h"

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
  c.data = {48, 6, 3, 11, "none", -1, "held out.bin"};
  c.optimizer = {0.1, 1e-7, 0.3, 0.8, 0.99, 1e-9, 0.01, 2.5};
  c.train = {77,       train::Joint::off, 16, {1, 4, -1}, {2},   {0, 1, 2}, 7, 5,  9,
             "cuda:1", ratel::DType::f64, 2,  true,       false, true,      9, 70, true};
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
  const TrainConfig c =
      overridden({"--train.steps=12", "optimizer.peak_rate=3e-4", "--optimizer.clip=2", "--train.recompute=true",
                  "--train.joint=sum", "--train.dilation=1,4,-1", "--train.autotune=true", "--train.window=5",
                  "--train.dtype=f64", "--model.recurrence=none"});
  BOOST_TEST(c.train.steps == 12);
  BOOST_TEST(c.optimizer.peak_rate == 3e-4);
  BOOST_TEST(c.optimizer.clip == 2.0);
  BOOST_TEST(c.train.recompute);
  BOOST_TEST(c.train.autotune);
  BOOST_TEST((c.train.joint == train::Joint::sum));
  BOOST_TEST((c.train.dilation == LayerValues{1, 4, -1}));
  BOOST_TEST((c.train.window == LayerValues{5}));
  BOOST_TEST((c.train.dtype == ratel::DType::f64));
  BOOST_TEST((c.model.recurrence == ratel::Recurrence::none));
}

BOOST_AUTO_TEST_CASE(an_override_takes_lists_as_a_file_does) {
  BOOST_TEST((overridden({"--train.dilation=[1, 4, -1]"}).train.dilation == LayerValues{1, 4, -1}));
  BOOST_TEST((overridden({"--train.dilation=[[1, 16],4,4,[8,8]]"}).train.dilation ==
              from_toml("[train]\ndilation = [[1, 16], 4, 4, [8, 8]]\n").train.dilation));
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
  check_error([] { overridden({"--train.steps=9000000000000000000"}); },
              "expected an integer from 1 to 1e+15, found 9");
  for (const std::string value : {"4,,8", "4, 8", "[4,", "[4,\"8\"]", "[]"})
    check_error([&] { overridden({"--train.dilation=" + value}); },
                "--train.dilation=" + value + ": train.dilation: expected ");
  check_error([] { overridden({"--train.dilation=4, 8"}); },
              "expected an integer or a list of integers, or of lists of one a head, found the string \"4, 8\"");
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
  is.train.autotune = true;
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

BOOST_AUTO_TEST_CASE(the_presets_in_the_tree_are_the_papers) {
  struct Expected {
    const char *name, *preset;
    double billion_parameters, peak_rate, warmup;
    double tokens;  // of the whole run, within half a batch; 0: any
    bool adapts;
    int64_t batch_size = 0;
  };
  // docs: RAT+, arXiv 2602.18196. Adapting: a tenth of the rate, no warm-up (7b: 2e-5 and 2%), a billion tokens.
  const Expected table[] = {
      {"tiny", "tiny", 0.00095, 3e-3, 0.05, 0, false},     {"tiny_adapt", "tiny", 0.00095, 3e-4, 0, 0, true},
      {"small", "small", 0.0166, 1e-3, 0.05, 0, false},    {"small_adapt", "small", 0.0166, 1e-4, 0, 0, true},
      {"1b", "1b", 1.5, 8e-4, 0.05, 100e9, false, 512},    {"1b_adapt", "1b", 1.5, 8e-5, 0, 1e9, true, 512},
      {"3b", "3b", 2.6, 7e-4, 0.05, 100e9, false, 640},    {"3b_200b", "3b", 2.6, 7e-4, 0.05, 200e9, false, 768},
      {"3b_adapt", "3b", 2.6, 7e-5, 0, 1e9, true, 640},    {"7b", "7b", 7.6, 6e-4, 0.05, 100e9, false, 768},
      {"7b_adapt", "7b", 7.6, 2e-5, 0.02, 1e9, true, 768},
  };
  size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(RATEL_SOURCE_DIR "/configs")) {
    const std::string name = file.path().stem();
    const auto* expected = std::ranges::find_if(table, [&](const Expected& e) { return name == e.name; });
    BOOST_TEST_REQUIRE((expected != std::end(table)), name << " is not in the table");
    ++files;
    BOOST_TEST_CONTEXT(name) {
      const TrainConfig config = train::load_config(file.path(), {});
      BOOST_TEST(config.preset == expected->preset);
      const double billions = static_cast<double>(config.model.parameter_count()) / 1e9;
      BOOST_TEST(std::abs(billions / expected->billion_parameters - 1) < 0.04, billions);
      BOOST_TEST(config.optimizer.peak_rate == expected->peak_rate);
      BOOST_TEST(config.optimizer.final_rate == 1e-6);
      BOOST_TEST(config.optimizer.warmup_fraction == expected->warmup);
      BOOST_TEST((config.optimizer.beta1 == 0.9 && config.optimizer.beta2 == 0.95 && config.optimizer.eps == 1e-8));
      BOOST_TEST((config.optimizer.weight_decay == 0.1 && config.optimizer.clip == 1.0));
      BOOST_TEST(config.train.sparse_dilation == 64);
      BOOST_TEST((config.train.joint == (expected->adapts ? train::Joint::off : train::Joint::alternate)));
      BOOST_TEST((config.pattern() == (expected->adapts ? ModelPattern::uniform({16, 0, 0}) : ModelPattern{})));
      if (expected->tokens == 0) continue;
      const auto batch = static_cast<double>(config.data.batch_size * config.data.seq_len);
      BOOST_TEST(config.data.batch_size == expected->batch_size);
      BOOST_TEST(config.data.seq_len == 4096);
      BOOST_TEST(std::abs(static_cast<double>(config.train.steps) * batch - expected->tokens) <= batch / 2);
      BOOST_TEST(config.data.eos == 2);
      BOOST_TEST(config.model.vocab_size == 32000);
      BOOST_TEST((config.train.dtype == ratel::DType::bf16));
    }
  }
  BOOST_TEST(files == std::size(table));
}

BOOST_AUTO_TEST_CASE(a_file_stands_on_its_base_and_says_what_differs) {
  const ratel::test::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "sub");
  const auto write = [&](const char* name, const std::string& text) { return folder.file(name, text); };
  const std::string root =
      write("root.toml", "[model]\npreset = \"small\"\nlayers = 3\n[train]\nsteps = 10\nseed = 1\n");
  const std::string middle = write("sub/middle.toml", "base = \"../root.toml\"\n[train]\nsteps = 20\nseed = 2\n");
  const std::string top = write("top.toml", "base = \"sub/middle.toml\"\n[train]\nsteps = 30\n");
  train::Origins origins;
  const TrainConfig config = train::load_config(top, {"--data.seed=5"}, {}, &origins);
  BOOST_TEST(config.train.steps == 30);
  BOOST_TEST(config.train.seed == 2);
  BOOST_TEST(config.model.layers == 3);
  BOOST_TEST(config.model.channels == 384);
  BOOST_TEST(origins["train.steps"] == top + ":3");
  BOOST_TEST(origins["train.seed"] == folder / "sub/middle.toml:4");
  BOOST_TEST(origins["model.layers"] == root + ":3");
  BOOST_TEST(origins["model.channels"] == "preset small, " + root + ":2");
  BOOST_TEST(origins["data.seed"] == "--data.seed=5");
  BOOST_TEST(!origins.contains("train.threads"));
  const std::string shown = train::to_toml(config, &origins);
  BOOST_TEST(shown.find("steps = 30                      # " + top + ":3\n") != std::string::npos, shown);
  BOOST_TEST(shown.find("threads = 0                     # default\n") != std::string::npos, shown);
  BOOST_TEST((from_toml(shown) == config));
  // A preset of the upper file sets its sizes anew.
  BOOST_TEST(
      train::load_config(write("tiny.toml", "base = \"root.toml\"\n[model]\npreset = \"tiny\"\n"), {}).model.layers ==
      4);
}

BOOST_AUTO_TEST_CASE(what_is_wrong_with_a_base_is_said_where_it_is_named) {
  const ratel::test::TemporaryFolder folder;
  const auto check_file = [&](const std::string& text, const std::string& message) {
    const std::string path = folder.file("top.toml", text);
    check_error([&] { train::load_config(path, {}); }, message);
    try {
      train::load_config(path, {});
    } catch (const ratel::Error& error) {
      BOOST_TEST((error.kind() == ratel::ErrorKind::input), text);
    }
  };
  const std::string top = folder / "top.toml";
  check_file("# a comment\nbase = \"none.toml\"\n",
             top + ":2: base: expected a file, found none at \"" + folder / "none.toml");
  check_file("base = 3\n", top + ":1: base: expected the name of a file, found 3");
  check_file("base = \"\"\n", top + ":1: base: expected the name of a file, found the string \"\"");
  check_file("base = \"top.toml\"\n", top + ":1: base: \"" + top + "\" is based on this file itself");
  const std::string other = folder.file("other.toml", "\nbase = \"./top.toml\"\n");
  check_file("base = \"other.toml\"\n", other + ":2: base: \"" + top + "\" is based on this file itself");
  const std::string wrong = folder.file("wrong.toml", "[train]\n\nstep = 3\n");
  check_file("base = \"wrong.toml\"\n", wrong + R"(:3: unknown key "train.step"; the nearest is "train.steps")");
  check_file("[train]\nbase = \"wrong.toml\"\n", top + ":2: unknown key \"train.base\"");
  check_file("base = \"" + folder / "" + "\"\n", "expected a regular file, found a folder");
  for (int depth = 0; depth < 10; ++depth)
    std::ignore = folder.file(std::to_string(depth) + ".toml", "base = \"" + std::to_string(depth + 1) + ".toml\"\n");
  check_file("base = \"0.toml\"\n", "6.toml:1: base: expected at most 8 files");
}

BOOST_AUTO_TEST_CASE(a_file_cut_anywhere_is_read_or_refused_as_input) {
  const ratel::test::TemporaryFolder folder;
  std::ignore = folder.file("root.toml", "[train]\nsteps = 10\n");
  const std::string text = "base = \"root.toml\"\n" + train::to_toml(unusual());
  int read = 0, refused = 0;
  for (size_t length = 0; length <= text.size(); ++length) {
    const std::string path = folder.file("cut.toml", text.substr(0, length));
    try {
      std::ignore = train::load_config(path, {});
      ++read;
    } catch (const ratel::Error& error) {
      ++refused;
      BOOST_TEST((error.kind() == ratel::ErrorKind::input), error.what());
      BOOST_TEST(std::string_view(error.what()).starts_with(path), error.what());
    }
  }
  BOOST_TEST(read > 10);
  BOOST_TEST(refused > 300);
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

// So that what is adapted through them keeps the tokenizer it was trained with.
BOOST_AUTO_TEST_CASE(presets_of_small_models_leave_the_tokenizer_open) {
  for (const char* name : {"tiny", "tiny_adapt", "small", "small_adapt"}) BOOST_TEST_CONTEXT(name) {
      train::Origins origins;
      train::load_config(std::string(RATEL_SOURCE_DIR "/configs/") + name + ".toml", {}, {}, &origins);
      BOOST_TEST(!origins.contains("data.tokenizer"));
    }
}
