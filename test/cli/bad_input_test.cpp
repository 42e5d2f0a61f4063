// Everything a user can get wrong ends in one clear line, the right exit code and nothing lost.
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <filesystem>

#include "test/cli/process.h"

namespace ratel::test {
namespace {

namespace fs = std::filesystem;

/// A trained run, and the folder of its last checkpoint.
struct Trained : Fixture {
  std::string run = scratch / "run", checkpoint = run + "/checkpoints/step-8", text = scratch / "text.txt";
  Trained() { BOOST_TEST_REQUIRE(run_ratel(training(run)).code == 0); }

  /// A copy of the model alone, in a folder of that name.
  [[nodiscard]] std::string model(const std::string& name) const {
    std::string folder = scratch / name;
    fs::create_directory(folder);
    for (const char* file : {"/config.json", "/model.safetensors"}) fs::copy(checkpoint + file, folder + file);
    return folder;
  }
};

const Trained& trained() {
  static const Trained made;
  return made;
}

Words eval_of(const std::string& model, const Words& more = {}) {
  Words words = {"eval", "--model", model, "--data", trained().data};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

BOOST_AUTO_TEST_CASE(command_lines_that_cannot_work) {
  const Trained& t = trained();
  check_fails({"trian"}, 2, "unknown command 'trian'\nhint: the nearest command is train");
  check_fails({"eval", "--modell", t.run}, 2, "unknown option --modell\nhint: the nearest option is --model");
  check_fails({"eval", "--model", t.run}, 2, "--data is missing");
  check_fails({"eval", "--model"}, 2, "--model: expected a value, found none\nhint: ratel eval --help");
  check_fails({"eval", "--model", t.run, "--model", t.run}, 2, "--model: expected once, found again");
  check_fails({"eval", "--seq-len=5", "--seq-len=6"}, 2, "--seq-len: expected once, found again");
  check_fails({"eval", "--json=maybe"}, 2, "--json: expected no value, or true or false, found 'maybe'");
  check_fails({"generate", "--prompt"}, 2, "--prompt: expected a value, found none");
  check_fails({"tokenize", "--output", "x"}, 2, "INPUT is missing");
  check_fails({"tokenize", "--tokenizer", "words", t.text, "--output", t.scratch / "x"}, 2, "found 'words'");
  check_fails({"tokenize", t.text, "--output", t.text}, 2, "are the same file");
  check_fails({"train", "--data", t.data}, 2, "--out is missing");
  check_fails({"adapt", "--from", t.run, "--data", t.data, "--out", t.scratch / "a"}, 2, "--dilation is missing");
  check_fails({"plot", t.run, "--x", "miles", "--output", t.scratch / "x.svg"}, 2, "found 'miles'");
  check_fails({"generate", "--model", t.run, "--max-new-tokens", "3"}, 2, "--prompt");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--prompt-tokens", "1"}, 2, "--prompt");
  check_fails({"generate", "--model", t.run, "--prompt", ""}, 2, "--prompt");
  check_fails({"generate", "--model", t.run, "--prompt-tokens", "1,257"}, 2, "expected ids from 0 to 256, found 257");
  check_fails({"generate", "--model", t.run, "--prompt-tokens", "-1"}, 2, "found -1");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--temperature=-1"}, 2, "temperature");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--top-p=2"}, 2, "top_p");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--min-p=-1"}, 2, "min_p");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--repetition-penalty=0"}, 2, "repetition_penalty");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--samples=0"}, 2, "--samples");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--eos=257"}, 2,
              "--eos: expected ids up to 256, found 257");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--eos=-3"}, 2, "--eos: expected a token id, -1 or -2");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--stop", ""}, 2, "--stop");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--logprobs"}, 2, "--logprobs: expected --json");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--prompt", ""}, 2, "--prompt");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--prompts-file", t.text}, 2, "expected one of --prompt");
}

BOOST_AUTO_TEST_CASE(patterns_that_do_not_fit) {
  check_fails(eval_of(trained().run, {"--dilation", "0"}), 2, "dilation");
  check_fails(eval_of(trained().run, {"--dilation=-2"}), 2, "dilation");
  check_fails(eval_of(trained().run, {"--dilation=1,2,3"}), 2, "dilation");
  check_fails(eval_of(trained().run, {"--dilation=four"}), 2, "expected integers separated by commas, found 'four'");
  check_fails(eval_of(trained().run, {"--window=-1"}), 2, "window");
  check_fails(eval_of(trained().run, {"--initial=1,-1"}), 2, "initial");
  check_fails(eval_of(trained().run, {"--seq-len=-4"}), 2, "--seq-len");
}

BOOST_AUTO_TEST_CASE(pattern_files_that_are_wrong) {
  const Trained& t = trained();
  const std::string file = t.scratch / "pattern.toml", json = t.scratch / "pattern.json", x = t.scratch / "x";
  const auto check_file = [&](const std::string& text, const std::string& part) {
    write(file, text);
    check_fails(eval_of(t.run, {"--pattern", file}), 3, file + part);
  };
  check_file("window = 3\ndilatoin = 4\n", R"(:2: unknown key "dilatoin"; the nearest is "dilation")");
  check_file("[[layer]]\n[[layer]]\nwindow = -1\n", ":3: window: expected 0 or more, found -1");
  check_file("dilation = [1, 2, 3]\n", ":1: dilation: expected one value, or a list of one for each of 2 heads, found");
  check_file("[[layer]]\ndilation = 3\n", ": expected [[layer]] for each of 2 layers, found 1");
  check_file("[layer]\ndilation = 3\n", ":2: expected a table [[layer]] for each layer");
  check_file("dilation = \n", ":1: ");
  check_file("", ": expected a pattern, found none");
  write(json, R"({"layer": [{}, {"dilation": 0}]})");
  check_fails({"generate", "--model", t.run, "--prompt", "a", "--pattern", json}, 3,
              json + ": layer.1.dilation: expected");
  write(json, "[[{");
  check_fails(eval_of(t.run, {"--pattern", json}), 3, json + ":");
  check_fails(eval_of(t.run, {"--pattern", t.scratch / "none.toml"}), 3, "none.toml");
  write(file, "dilation = 2\n");
  check_fails(eval_of(t.run, {"--pattern", file, "--window=3"}), 2, "--pattern: expected no --dilation");
  const Words adapt = {"adapt", "--from", t.run, "--data", t.data, "--out", x, "--pattern", file};
  Words both = adapt;
  both.emplace_back("--dilation=2");
  check_fails(both, 2, "--pattern: expected no --dilation");
  write(file, "dilation = 8\ntop_blocks = 4\n");
  check_fails(adapt, 2, "top-k blocks have no gradient");
}

BOOST_AUTO_TEST_CASE(prompts_that_are_wrong) {
  const Trained& t = trained();
  const std::string file = t.scratch / "prompts.txt";
  const Words words = {"generate", "--model", t.run, "--prompts-file", file};
  check_fails(words, 3, file);
  write(file, "one\n\nthree\n");
  check_fails(words, 3, file + ":2: expected a prompt, found an empty line");
  write(file, "");
  check_fails(words, 3, file + ":1: expected a prompt, found an empty line");
}

BOOST_AUTO_TEST_CASE(charts_that_are_wrong) {
  const Trained& t = trained();
  const std::string path = t.scratch / "chart.json", output = t.scratch / "chart.svg";
  const auto refused = [&](const std::string& text, const std::string& part) {
    write(path, text);
    check_fails({"plot", "--chart", path, "--output", output}, 3, part);
  };
  refused("{", path);
  refused("{}", "series");
  refused(R"({"series": []})", "expected a series with a point, found none");
  refused(R"({"series": [{"x": [1]}]})", "series.0");
  refused(R"({"series": [{"x": [1], "y": [1, 2]}]})", "expected as many y as x, found 1 x and 2 y");
  refused(R"({"series": [{"x": ["a"], "y": [1]}]})", "expected a number");
  refused(R"({"series": [{"x": [1], "y": [1], "strok": "solid"}]})", "the nearest is \"stroke\"");
  refused(R"({"series": [{"x": [1], "y": [1], "stroke": "thick"}]})", R"(expected "solid" or "dashed" or "dotted")");
  refused(R"({"series": [{"x": [1], "y": [1], "color": -1}]})", "expected 0 to 999, found -1");
  refused(R"({"series": [{"x": [1], "y": [1]}], "x_scale": "log10"})", R"(expected "linear" or "log")");
  refused(R"({"series": [{"x": [1], "y": [null]}]})", "expected a series with a point, found none");
  refused(R"({"series": [{"x": [1, 2], "y": [1e308, -1e308]}]})", "expected a series with a point, found none");
  const std::string whole = R"({"title": "t", "x_ticks": [1], "series": [{"name": "n", "x": [1, 2], "y": [3, 4]}]})";
  for (size_t length = 0; length < whole.size(); length += 7) refused(whole.substr(0, length), path + ":");
  write(path, R"({"series": [{"x": [1], "y": [1]}]})");
  check_fails({"plot", "--output", output}, 2, "found neither");
  check_fails({"plot", t.run, "--chart", path, "--output", output}, 2, "found both");
  check_fails({"plot", t.run, "--output", t.scratch / "curve.png"}, 2,
              "--output: expected a name that ends in .svg, found ");
}

BOOST_AUTO_TEST_CASE(files_that_are_not_there) {
  const Trained& t = trained();
  const std::string none = t.scratch / "none";
  check_fails({"tokenize", none, "--output", t.scratch / "x.bin"}, 3, none);
  check_fails({"tokenize", t.checkpoint, "--output", t.scratch / "x.bin"}, 3,
              "expected files named .txt or .jsonl in this folder, found none");
  check_fails(eval_of(none), 3, none);
  check_fails({"eval", "--model", t.run, "--data", none}, 3, none);
  check_fails({"train", "--config", none, "--data", t.data, "--out", t.scratch / "x"}, 3, none);
  check_fails({"train", "--data", none, "--out", t.scratch / "x"}, 3, none);
  check_fails({"adapt", "--from", none, "--dilation=2", "--data", t.data, "--out", t.scratch / "x"}, 3, none);
  check_fails({"inspect", none}, 3, none);
  check_fails({"plot", none, "--output", t.scratch / "x.svg"}, 3, none);
}

BOOST_AUTO_TEST_CASE(a_cache_beyond_the_memory_there_is_ends_before_it_is_filled) {
  Words words = {"generate", "--model", trained().run, "--max-new-tokens", "1073741824"};
  for (int prompt = 0; prompt < 256; ++prompt) words.insert(words.end(), {"--prompt", "a"});
  check_fails(words, 4, "generate: keys and values of 256 x 1073741824 tokens need ");
  words[4] = "9223372036854775807";
  check_fails(words, 2, "--max-new-tokens: expected 0 to 1073741824, found 9223372036854775807");
}

BOOST_AUTO_TEST_CASE(paths_the_system_does_not_look_up) {
  const Trained& t = trained();
  const std::string loop = t.scratch / "loop";
  fs::create_symlink("loop", loop);
  for (const std::string& path : {loop, loop + "/x", t.scratch / std::string(300, 'n'), t.text + "/x"}) {
    check_fails({"inspect", path}, 3, path);
    check_fails({"plot", path, "--output", t.scratch / "x.svg"}, 3, path);
    check_fails({"tokenize", path, "--output", t.scratch / "x.bin"}, 3, path);
    check_fails(eval_of(path), 3, path);
    check_fails({"eval", "--model", t.run, "--data", path}, 3, path);
    check_fails({"train", "--config", path, "--data", t.data, "--out", t.scratch / "x"}, 3, path);
    check_fails({"adapt", "--from", path, "--dilation=2", "--data", t.data, "--out", t.scratch / "x"}, 3, path);
  }
  // A run whose checkpoints cannot be looked up does not start anew.
  const std::string run = t.scratch / "unreadable";
  fs::create_directory(run);
  fs::copy(t.run + "/config.toml", run + "/config.toml");
  fs::create_symlink("checkpoints", run + "/checkpoints");
  check_fails(t.training(run, {"--resume"}), 3, "checkpoints: not looked up: Too many levels of symbolic links");
}

BOOST_AUTO_TEST_CASE(configurations_that_are_wrong) {
  const Trained& t = trained();
  write(t.scratch / "key.toml", "[train]\nstpes = 3\n");
  check_fails({"train", "--print-config", "--config", t.scratch / "key.toml"}, 3, "key.toml:2: ");
  check_fails({"train", "--print-config", "--config", t.scratch / "key.toml"}, 3, "train.steps");
  write(t.scratch / "base.toml", "\nbase = \"key.toml\"\n");
  check_fails({"train", "--print-config", "--config", t.scratch / "base.toml"}, 3,
              t.scratch / "key.toml:2: unknown key");
  write(t.scratch / "base.toml", "\nbase = \"nowhere.toml\"\n");
  check_fails({"train", "--print-config", "--config", t.scratch / "base.toml"}, 3,
              "base.toml:2: base: expected a file");
  write(t.scratch / "base.toml", "\nbase = \"base.toml\"\n");
  check_fails({"adapt", "--from", t.run, "--print-config", "--config", t.scratch / "base.toml"}, 3, "this file itself");
  write(t.scratch / "syntax.toml", "[train\nsteps = 3\n");
  check_fails({"train", "--print-config", "--config", t.scratch / "syntax.toml"}, 3, "syntax.toml:1");
  check_fails({"train", "--print-config", "--train.stpes=3"}, 2, "train.steps");
  check_fails({"train", "--print-config", "--train.steps=many"}, 2, "train.steps");
  check_fails({"train", "--print-config", "--model.heads=3"}, 2, "heads");
}

BOOST_AUTO_TEST_CASE(models_that_are_damaged) {
  const std::string cut = trained().model("cut");
  const std::string weights = cut + "/model.safetensors", config = cut + "/config.json";
  const std::string whole = read(weights), sizes = read(config);
  for (const size_t length : {size_t{0}, size_t{5}, size_t{100}, whole.size() - 1}) {
    write(weights, whole.substr(0, length));
    check_fails(eval_of(cut), 3, weights);
    check_fails({"inspect", cut}, 3, weights);
  }
  write(weights, whole);
  BOOST_TEST(run_ratel(eval_of(cut)).code == 0);
  for (const std::string& text : {std::string("{"), std::string("[]"), sizes.substr(0, sizes.size() / 2)}) {
    write(config, text);
    check_fails(eval_of(cut), 3, config);
    check_fails({"inspect", cut}, 3, config);
  }
  std::string wider = sizes;
  wider.replace(wider.find("\"layers\": 2"), 11, "\"layers\": 3");
  write(config, wider);
  check_fails(eval_of(cut), 3, weights);
  fs::remove(weights);
  write(config, sizes);
  check_fails(eval_of(cut), 3, weights);
}

BOOST_AUTO_TEST_CASE(links_that_leave_their_folder) {
  const Trained& t = trained();
  const std::string secret = t.scratch / "secret";
  const auto replace_by_link = [](const std::string& file, const std::string& to) {
    fs::rename(file, to);
    fs::create_symlink(to, file);
  };
  for (const char* name : {"config.json", "model.safetensors"}) {
    const std::string model = t.model(std::string("linked ") + name), file = model + "/" + name;
    replace_by_link(file, secret + name);
    for (const Words& words :
         {eval_of(model), Words{"inspect", model}, Words{"generate", "--model", model, "--prompt", "a"}})
      check_fails(words, 3, file + ": expected a file of this folder, found a link that leads out of it");
    check_fails({"adapt", "--from", model, "--dilation=2", "--data", t.data, "--out", t.scratch / "x"}, 3, file);
    fs::remove(file);
    fs::rename(secret + name, model + "/real");
    fs::create_symlink("real", file);  // inside the folder: fine, as is a link to the folder itself
    fs::create_directory_symlink(model, t.scratch / std::string("to ") + name);
    BOOST_TEST(run_ratel(eval_of(t.scratch / std::string("to ") + name)).code == 0);
  }
  for (const char* name :
       {"config.json", "model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"}) {
    const std::string copy = t.scratch / std::string("checkpoint ") + name, file = copy + "/" + name;
    fs::copy(t.checkpoint, copy);
    replace_by_link(file, secret + name);
    for (const Words& words : {eval_of(copy), Words{"inspect", copy}})
      check_fails(words, 3, file + ": expected a file of this folder, found a link that leads out of it");
  }
}

BOOST_AUTO_TEST_CASE(checkpoints_that_are_damaged) {
  const Trained& t = trained();
  const std::string run = t.scratch / "damaged";
  fs::copy(t.run, run, fs::copy_options::recursive);
  const std::string newest = run + "/checkpoints/step-8", weights = newest + "/model.safetensors";
  std::string bytes = read(weights);
  bytes[bytes.size() / 2] ^= 1;
  write(weights, bytes);
  check_fails({"inspect", newest}, 3, "model.safetensors");
  check_fails(eval_of(newest), 3, "model.safetensors");
  const Ended older = run_ratel(eval_of(run));
  BOOST_TEST(older.code == 0);
  BOOST_TEST(older.err.find("step-8") != std::string::npos, older.err);
  fs::remove_all(run + "/checkpoints/step-4");
  check_fails(eval_of(run), 3, "checkpoint", Before::progress);
  check_fails(t.training(run, {"--resume"}), 3, "checkpoint", Before::progress);
}

BOOST_AUTO_TEST_CASE(a_model_that_is_not_finite) {
  const Trained& t = trained();
  const std::string model = t.model("of_nan");
  std::string weights = read(model + "/model.safetensors");
  weights.replace(weights.size() - 4, 4, "\xff\xff\xff\x7f");  // NaN
  write(model + "/model.safetensors", weights);
  for (const Words& more : {Words{}, Words{"--json"}})
    check_fails(eval_of(model, more), 6, "the model's loss on it is nan", Before::progress);
  check_fails({"generate", "--model", model, "--prompt", "a"}, 6, "is nan");
}

BOOST_AUTO_TEST_CASE(token_files_that_do_not_fit) {
  const Trained& t = trained();
  write(t.scratch / "odd.bin", "abc");
  write(t.scratch / "empty.bin", "");
  write(t.scratch / "high.bin", std::string("a\0b\0\1\1c\0", 8));  // 257 among them
  write(t.scratch / "short.bin", std::string("a\0b\0c\0", 6));
  for (const char* name : {"odd.bin", "empty.bin", "high.bin"}) {
    check_fails({"eval", "--model", t.run, "--data", t.scratch / name}, 3, name);
    check_fails({"train", "--data", t.scratch / name, "--out", t.scratch / "x", "--data.seq_len=2"}, 3, name);
  }
  check_fails({"train", "--data", t.scratch / "short.bin", "--out", t.scratch / "x"}, 3, "short.bin");
}

BOOST_AUTO_TEST_CASE(output_that_cannot_be_written) {
  const Trained& t = trained();
  check_fails({"tokenize", t.text, "--output", "/dev/full"}, 5, "/dev/full");
  check_fails({"tokenize", t.text, "--output", t.text + "/x.bin"}, 5, "/x.bin");
  check_fails({"tokenize", t.text, "--output", t.run}, 5, "is a folder");
  check_fails({"train", "--data", t.data, "--out", t.text + "/run"}, 5, "/run");
  check_fails({"plot", t.run, "--output", t.scratch / "none/x.svg"}, 5, "none");
  for (const std::string& command : {"inspect " + t.run, std::string("doctor --json"), std::string("--version")})
    check_failure(shell("$RATEL " + command + " > /dev/full"), 5, "stdout");
  // A file system that fills up while the file is being written.
  const std::string output = t.scratch / "limited.bin";
  write(output, "as it was");
  check_failure(shell("ulimit -f 4; $RATEL tokenize " + t.text + " --output " + output), 5, output);
  BOOST_TEST(read(output) == "as it was");
  BOOST_TEST(!fs::exists(output + ".tmp"));
}

// What is said must not end up in the file that would get the number of a closed stream.
BOOST_AUTO_TEST_CASE(streams_that_are_closed) {
  const Trained& t = trained();
  write(t.scratch / "rows.jsonl", "{\"text\":\"hello\"}\nbad\n");
  const std::string tokenize = concat_text("$RATEL tokenize ", t.scratch / "rows.jsonl", " --max-bad 1 --output ");
  BOOST_TEST(shell(tokenize + (t.scratch / "open.bin")).code == 0);
  for (const char* closed : {"2>&-", "<&- 2>&-", "<&- >&- 2>&-"}) {
    const std::string path = t.scratch / "closed.bin";
    // What is said to a person goes nowhere; the result, on stdout, must be.
    const bool says_result = std::string(closed).find(">&- 2") == std::string::npos;
    BOOST_TEST(shell(concat_text(tokenize, path, ' ', closed)).code == (says_result ? 0 : 5));
    BOOST_TEST(read(path) == read(t.scratch / "open.bin"), closed);
    fs::remove(path);
  }
  BOOST_TEST(shell(concat_text(tokenize, t.scratch / "x.bin", " >&-")).code == 5);
}

BOOST_AUTO_TEST_CASE(a_disk_that_fills_up_in_training_loses_no_checkpoint) {
  const Trained& t = trained();
  const std::string run = t.scratch / "filling";
  BOOST_TEST_REQUIRE(run_ratel(t.training(run, {"--train.steps=4"})).code == 0);
  const Words words = t.training(run, {"--train.steps=12", "--resume", "--allow-changes"});
  std::string command = "ulimit -f 32; $RATEL";
  for (const std::string& word : words) command += " " + word;
  const Ended ended = shell(command);
  BOOST_TEST(ended.code == 5, ended.err);
  BOOST_TEST(fs::exists(run + "/checkpoints/step-4/MANIFEST.json"));
  BOOST_TEST(!fs::exists(run + "/checkpoints/step-8.tmp"));
  BOOST_TEST(run_ratel(words).code == 0);
}

BOOST_AUTO_TEST_CASE(a_folder_that_takes_no_files_is_seen_first) {
  if (geteuid() == 0) return;  // who may write anywhere
  const Trained& t = trained();
  const std::string folder = t.scratch / "closed";
  fs::create_directory(folder);
  fs::permissions(folder, fs::perms::owner_read | fs::perms::owner_exec);
  const std::string said = "cannot be written: Permission denied";
  check_fails({"search", "--model", t.run, "--data", t.data, "--output", folder + "/p.toml"}, 5, said);
  check_fails({"eval", "--model", t.run, "--task", "single_1", "--output", folder + "/r.json"}, 5, said);
  fs::permissions(folder, fs::perms::owner_all);
}

BOOST_AUTO_TEST_CASE(memory_and_numbers_that_run_out) {
  const Trained& t = trained();
  write(t.scratch / "wide.bin", std::string(40000, '\0'));  // 10000 ids of 4 bytes
  check_fails({"train", "--data", t.scratch / "wide.bin", "--out", t.scratch / "huge", "--model.vocab_size=2000000000",
               "--model.channels=1000000", "--model.heads=1000", "--model.layers=1", "--data.tokenizer=none"},
              4, "training: weights, gradients and moments of 2014000003000000 parameters need ");
  check_fails(t.training(t.scratch / "huge", {"--data.batch_size=1000000000000"}), 4,
              "training: the activations of 1000000000000 x ");
  BOOST_TEST(!fs::exists(t.scratch / "huge"));
  check_fails(t.training(t.scratch / "diverged", {"--train.steps=60", "--optimizer.peak_rate=1e6", "--optimizer.clip=0",
                                                  "--optimizer.warmup_fraction=0"}),
              6, "in a row", Before::progress);
}

BOOST_AUTO_TEST_CASE(two_processes_do_not_share_a_run) {
  const Trained& t = trained();
  const std::string run = t.scratch / "shared";
  Process first(t.training(run, {"--train.steps=1000000"}));
  while (first.is_running() && read(run + "/metrics.jsonl").empty()) {
  }
  check_fails(t.training(run, {"--resume", "--train.steps=1000000"}), 2, "is training in this run folder");
}

}  // namespace ratel::test
