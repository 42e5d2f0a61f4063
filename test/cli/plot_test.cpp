// ratel plot: what it draws of runs and of what describes a chart, and what it refuses.
#include <boost/test/unit_test.hpp>
#include <filesystem>

#include "test/cli/process.h"

namespace ratel::test {
namespace {

using io::Json;

/// A run and one adapted from it.
struct Runs : Fixture {
  std::string run = scratch / "run", adapted = scratch / "adapted";
  Runs() {
    BOOST_TEST_REQUIRE(run_ratel(training(run)).code == 0);
    BOOST_TEST_REQUIRE(run_ratel({"adapt", "--from", run, "--dilation", "4", "--window=2", "--data", data, "--out",
                                  adapted, "--train.steps=2"})
                           .code == 0);
  }
};

const Runs& runs() {
  static const Runs made;
  return made;
}

}  // namespace

BOOST_AUTO_TEST_CASE(plot_draws_one_run_and_several) {
  for (const char* x : {"steps", "tokens", "seconds"}) {
    const std::string output = runs().scratch / (std::string(x) + ".svg");
    const Json result = run_json({"plot", runs().run, "--x", x, "--output", output});
    BOOST_TEST(result.at("series").as_array().size() == 2u);
    BOOST_TEST(read(output).starts_with("<svg "));
  }
  const Json norm =
      run_json({"plot", runs().run, "--y=grad_norm", "--log-x", "--smooth=1", "--output", runs().scratch / "norm.svg"});
  BOOST_TEST(norm.at("series").as_array().size() == 1u);
  const Ended unknown = run_ratel({"plot", runs().run, "--y", "gradnorm", "--output", runs().scratch / "no.svg"});
  BOOST_TEST(unknown.code == 2);
  BOOST_TEST(unknown.err.find("the nearest is \"grad_norm\"\nhint: there are step, loss,") != std::string::npos,
             unknown.err);
  const Json both =
      run_json({"plot", runs().run, runs().adapted + "/metrics.jsonl", "--output", runs().scratch / "both.svg"});
  BOOST_TEST(both.at("series").as_array().size() == 3u);
}

BOOST_AUTO_TEST_CASE(plot_writes_over_nothing_that_it_reads) {
  const std::string metrics = runs().run + "/metrics.jsonl", config = runs().run + "/config.toml";
  const std::string chart = runs().scratch / "kept.json";
  write(chart, R"({"series": [{"x": [1, 2], "y": [2.0, 2.5]}]})");
  const std::vector<std::pair<Words, std::string>> cases{
      {{runs().run}, metrics}, {{metrics}, metrics}, {{runs().run}, config}, {{"--chart", chart}, chart}};
  for (const auto& [source, output] : cases) {
    const std::string before = read(output);
    Words words = {"plot", "--output", output};
    words.insert(words.end(), source.begin(), source.end());
    check_fails(words, 2, "are the same file");
    BOOST_TEST((read(output) == before));
  }
}

BOOST_AUTO_TEST_CASE(plot_draws_a_chart_that_is_described) {
  const std::string chart = runs().scratch / "chart.json", output = runs().scratch / "chart.svg";
  write(chart, R"({"title": "losses", "x_scale": "log", "x_ticks": [1, 4, 64], "series": [
      {"name": "one", "x": [1, 4, 64], "y": [2.0, 2.5, null]},
      {"name": "two", "x": [1, 64], "y": [1.5, 1.75], "stroke": "dashed", "color": 0}]})");
  const Json result = run_json({"plot", "--chart", chart, "--output", output});
  BOOST_TEST(result.at("series").as_array().size() == 2u);
  const std::string svg = read(output);
  for (const std::string tick : {">1<", ">4<", ">64<"}) BOOST_TEST(svg.find(tick) != std::string::npos, tick);
  BOOST_TEST(svg.find(">2<") == std::string::npos);  // x_ticks are all there are
  BOOST_TEST(svg.find("stroke-dasharray") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(runs_of_one_name_are_told_apart) {
  const TemporaryFolder scratch;
  Words paths;
  for (const char* folder : {"A/a/x", "A/b/x", "B/a/x", "y"}) {
    paths.push_back(scratch / folder);
    std::filesystem::create_directories(paths.back());
    write(paths.back() + "/metrics.jsonl", "{\"step\": 1, \"loss\": 2.5}\n");
  }
  const auto names_of = [&](const Words& of) {
    Words words = {"plot", "--y", "step", "--output", scratch / "o.svg"}, names;
    words.insert(words.end(), of.begin(), of.end());
    const Json result = run_json(words);
    for (const Json& series : result.at("series").as_array()) names.push_back(series.at("name").as_string());
    return names;
  };
  BOOST_TEST(names_of({paths[0], paths[1] + "/"}) == (Words{"a/x", "b/x"}));
  BOOST_TEST(names_of({paths[0], paths[2], paths[3]}) == (Words{"A/a/x", "B/a/x", "y"}));
  BOOST_TEST(names_of({paths[0], paths[0]}) == (Words{"x", "x"}));
  BOOST_TEST(names_of({paths[0] + "/metrics.jsonl", paths[1] + "/metrics.jsonl"}) ==
             (Words{"a/x/metrics", "b/x/metrics"}));
}

BOOST_AUTO_TEST_CASE(a_row_without_a_number_is_named) {
  const TemporaryFolder scratch;
  const std::string rows = scratch / "rows.jsonl";
  const Words plot{"plot", rows, "--output", scratch / "x.svg"};
  write(rows, "{\"step\":1,\"loss\":2}\n{\"step\":\"x\",\"loss\":1}\n");
  check_fails(plot, 3, rows + ":2: step: expected a number, found \"x\"");
  write(rows, "{\"step\":1,\"loss\":[2]}\n{\"step\":2,\"loss\":1}\n");
  check_fails(plot, 3, rows + ":1: loss: expected a number, found [2]");
  write(rows, "{\"step\":1,\"loss\":null}\n{\"step\":2,\"loss\":1}\n");  // it was not finite
  BOOST_TEST(run_ratel(plot).code == 0);
}

}  // namespace ratel::test
