// `ratel search`: what it prints, what it writes, and what it refuses.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "test/cli/process.h"

namespace ratel::test {
namespace {

using io::Json;

/// A trained model of 2 layers and 2 heads.
struct Trained : Fixture {
  std::string run = scratch / "run";
  Trained() { BOOST_TEST_REQUIRE(run_ratel(training(run)).code == 0); }
  /// A small search with these words in place of the defaults, or beside them.
  [[nodiscard]] Words search(const std::string& output, const Words& more = {}) const {
    Words words = {"search", "--model", run, "--data", data, "--output", output};
    for (const std::string& word : Words{"--dilations=1,2,4,8", "--tokens=256", "--context=64"}) {
      const std::string name = word.substr(0, word.find('=') + 1);
      if (std::ranges::none_of(more, [&](const std::string& one) { return one.starts_with(name); }))
        words.push_back(word);
    }
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

const Trained& trained() {
  static const Trained made;
  return made;
}

}  // namespace

BOOST_AUTO_TEST_CASE(prints_one_object_and_writes_the_pattern_it_names) {
  const Trained& t = trained();
  for (const bool heads : {false, true}) {
    const std::string output = t.scratch / (heads ? "heads.toml" : "layers.toml");
    const Json found =
        run_json(t.search(output, heads ? Words{"--kv-budget=1/4", "--heads"} : Words{"--kv-budget", "0.25"}));
    const std::string verdict = found.at("verdict").as_string(), written = found.at("written").as_string();
    BOOST_TEST((verdict == "better" || verdict == "tie" || verdict == "worse"));
    BOOST_TEST((written == "found" || written == "uniform"));
    BOOST_TEST((written == "found") == (found.at("difference").as_double() <= 0));
    const Json& keys = found.at("keys");
    BOOST_TEST(keys.at("dense").as_int() == 2 * 2 * 64);
    BOOST_TEST(keys.at("budget").as_int() == 64);
    BOOST_TEST(keys.at("found").as_int() <= 64);
    BOOST_TEST(found.at("uniform").as_array().size() == 2u);  // D = 4 and 8
    BOOST_TEST(found.at("dense").at("share").as_double() == 1);
    const Json::Array& rounds = found.at("rounds").as_array();
    BOOST_TEST_REQUIRE(!rounds.empty());
    BOOST_TEST(rounds.size() <= 2u);
    BOOST_TEST(rounds[0].at("sensitivities").as_array().size() == (heads ? 4u : 2u));
    const Json& last = rounds[0].at("sensitivities").as_array().back();
    BOOST_TEST(last.at("layer").as_int() == 1);
    BOOST_TEST((last.at("head") == (heads ? Json(1) : Json())));
    BOOST_TEST(last.at("change").as_array().size() == 4u);
    // The file is what another command takes.
    const Json& best = written == "found" ? found.at("found") : found.at("best_uniform");
    BOOST_TEST(read(output).starts_with("# ratel search"));
    const Json eval = run_json({"eval", "--model", t.run, "--data", t.data, "--pattern", output, "--context=64"});
    BOOST_TEST(eval.at("kv_cache").at("bytes").as_int() == best.at("kv_bytes").as_int());
  }
}

BOOST_AUTO_TEST_CASE(the_text_has_every_table_and_the_verdict) {
  const Trained& t = trained();
  const Words words = t.search(t.scratch / "text.toml", {"--kv-budget=1/2", "--rounds=1", "--around=dense", "--heads"});
  const Ended ended = run_ratel(words);
  BOOST_TEST(ended.code == 0, ended.err);
  for (const char* part : {"layer.head", "1.1", "D=8", "predicted loss", "measured", "uniform", "dense", "100.00%",
                           "found: ", "written: ", "W=0 S=0"})
    BOOST_TEST(ended.out.find(part) != std::string::npos, part << " is not in " << ended.out);
  BOOST_TEST(ended.err.find("ETA ") != std::string::npos, ended.err);
  BOOST_TEST(run_ratel(words).out == ended.out);  // the same every time
}

BOOST_AUTO_TEST_CASE(what_was_found_is_shown_where_it_cannot_be_written) {
  const Trained& t = trained();
  std::string command = "(ulimit -f 0; $RATEL";
  for (const std::string& word : t.search(t.scratch / "lost.toml", {"--kv-budget=1/2"})) command += " " + word;
  const Ended ended = shell(command + "; echo it ended with $?) 2>&1 | cat");
  for (const char* part : {"lost.toml", "uniform", "found: ", "it ended with 5"})
    BOOST_TEST(ended.out.find(part) != std::string::npos, part << " is not in " << ended.out);
  BOOST_TEST(ended.out.find("\nwritten: ") == std::string::npos, ended.out);
}

BOOST_AUTO_TEST_CASE(ctrl_c_writes_nothing) {
  const Trained& t = trained();
  const std::string output = t.scratch / "kept.toml";
  write(output, "as it was");
  Process search(t.search(
      output, {"--kv-budget=1/4", "--tokens=3000", "--batch-size=1", "--rounds=1000", "--heads", "--seq-len=8"}));
  while (search.is_running() && search.said().find("tokens evaluated") == std::string::npos)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  search.send(SIGINT);
  const Ended ended = search.wait();
  BOOST_TEST(ended.code == 130, ended.err);
  BOOST_TEST(ended.out.empty());
  BOOST_TEST(ended.err.find(output + " was not written") != std::string::npos, ended.err);
  BOOST_TEST(read(output) == "as it was");
}

BOOST_AUTO_TEST_CASE(what_cannot_work_is_one_clear_line) {
  const Trained& t = trained();
  const std::string output = t.scratch / "none.toml";
  const auto with = [&](const std::string& word) { return t.search(output, {word}); };
  check_fails(with("--kv-budget=1/100"), 2, "more than the budget of 0.01\nhint: ");
  check_fails(with("--kv-budget=lots"), 2, "--kv-budget: expected a share of a dense cache");
  check_fails(with("--kv-budget=17/16"), 2, "found '17/16'");
  check_fails(with("--around=sparse"), 2, "--around: expected budget or dense, found 'sparse'");
  check_fails(with("--dilations=2,0"), 2, "dilation must be at least 1");
  check_fails(with("--dilations=2,2"), 2, "found 2 twice");
  check_fails(with("--rounds=0"), 2, "expected 1 to 1000 rounds");
  check_fails(with("--tokens=3"), 2, "a window of 32 at least, found 3");
  check_fails(with("--seq-len=6000"), 2, "a window of 6000 at least");
  check_fails(with("--head"), 2, "the nearest option is --heads");
  check_fails(t.search(output, {"--seq-len=5000", "--tokens=5000"}), 3, "expected two windows of 5000 tokens");
  check_fails(t.search(t.scratch / "no/x.toml"), 5, "is no folder");
  for (const std::string& read_too : {t.data, t.data + ".json"}) {
    const std::string before = read(read_too);
    check_fails(t.search(read_too), 2, "are the same file");
    BOOST_TEST((read(read_too) == before));
  }
  check_fails({"search", "--model", t.run, "--output", output}, 2, "--data is missing");
  check_fails({"search", "--model", t.run, "--data", t.scratch / "none.bin", "--output", output}, 3, "none.bin");
  BOOST_TEST(!std::filesystem::exists(output));
}

}  // namespace ratel::test
