// Training ended by signals, politely and not, and taken up again: the same losses and weights as the unbroken run.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <set>
#include <thread>

#include "core/rng.h"
#include "io/metrics_file.h"
#include "test/cli/process.h"

namespace ratel::test {
namespace {

namespace fs = std::filesystem;
using io::Json;
using std::chrono::milliseconds;

constexpr int64_t kSteps = 120;

Words long_training(const Fixture& fixture, const std::string& run, const Words& more = {}) {
  Words words = fixture.training(run, {"--train.steps=" + std::to_string(kSteps), "--train.checkpoint_every=7",
                                       "--data.batch_size=8", "--data.seq_len=64", "--model.channels=32"});
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

int64_t rows_of(const std::string& run) {
  const std::string text = read(run + "/metrics.jsonl");
  return std::count(text.begin(), text.end(), '\n');
}

/// Waits until the run has written that many rows; false where the process ended before.
bool reach(const Process& process, const std::string& run, int64_t rows) {
  while (process.is_running()) {
    if (rows_of(run) >= rows) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

const std::set<std::string> kClockColumns{"tokens_per_second",  "seconds",     "eta_seconds",
                                          "validation_seconds", "memory_live", "memory_peak"};

/// The rows without what depends on the clock and the process.
std::vector<Json> timeless_rows(const std::string& run) {
  std::vector<Json> rows;
  for (const Json& row : io::read_metrics(run + "/metrics.jsonl")) {
    Json kept = Json::object();
    for (const auto& [key, value] : row.as_object())
      if (!kClockColumns.contains(key)) kept.set(key, value);
    rows.push_back(std::move(kept));
  }
  return rows;
}

std::string last_checkpoint(const std::string& run) { return run + "/checkpoints/step-" + std::to_string(kSteps); }

void check_same_runs(const std::string& run, const std::string& expected) {
  BOOST_TEST(timeless_rows(run).size() == static_cast<size_t>(kSteps));
  BOOST_TEST((timeless_rows(run) == timeless_rows(expected)));
  for (const char* file : {"/model.safetensors", "/optimizer.safetensors"})
    BOOST_TEST((read(last_checkpoint(run) + file) == read(last_checkpoint(expected) + file)), file << " differs");
}

/// The data, and the run nobody disturbed.
struct Unbroken : Fixture {
  std::string run = scratch / "unbroken";
  Unbroken() : Fixture(20000) { BOOST_TEST_REQUIRE(run_ratel(long_training(*this, run)).code == 0); }
};

const Unbroken& unbroken() {
  static const Unbroken fixture;
  return fixture;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_signal_leaves_a_checkpoint_that_resumes_exactly) {
  const Unbroken& fixture = unbroken();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const std::string run = fixture.scratch / ("signal" + std::to_string(signal));
    Process process(long_training(fixture, run));
    BOOST_TEST_REQUIRE(reach(process, run, 10));
    process.send(signal);
    const Ended ended = process.wait();
    BOOST_TEST(ended.code == 128 + signal);
    BOOST_TEST(ended.err.find("--resume") != std::string::npos, ended.err);
    const int64_t rows = rows_of(run);
    BOOST_TEST(fs::exists(run + "/checkpoints/step-" + std::to_string(rows) + "/MANIFEST.json"));
    BOOST_TEST_REQUIRE(run_ratel(long_training(fixture, run, {"--resume"})).code == 0);
    check_same_runs(run, fixture.run);
  }
}

BOOST_AUTO_TEST_CASE(data_that_is_cut_short_meanwhile_ends_it_with_a_line) {
  const Unbroken& fixture = unbroken();
  const std::string run = fixture.scratch / "cut", data = fixture.scratch / "cut.bin";
  fs::copy(fixture.data, data);
  fs::copy(fixture.data + ".json", data + ".json");
  Words words = long_training(fixture, run);
  std::ranges::replace(words, "--data=" + fixture.data, "--data=" + data);
  Process process(words);
  BOOST_TEST_REQUIRE(reach(process, run, 10));
  fs::resize_file(data, 0);
  const auto result = process.wait();
  BOOST_TEST(result.code == 3);
  BOOST_TEST(result.err.find("ratel: a file became shorter while it was read") != std::string::npos, result.err);
}

BOOST_AUTO_TEST_CASE(under_nohup_the_end_of_a_terminal_is_no_stop) {
  const Unbroken& fixture = unbroken();
  const std::string run = fixture.scratch / "nohup";
  std::string command = "trap '' HUP; (for i in $(seq 3000); do [ ! -e " + run +
                        "/log.txt ] || break; sleep 0.01; done; kill -HUP $$) & " + "exec $RATEL";
  for (const std::string& word : long_training(fixture, run)) command += " '" + word + "'";
  BOOST_TEST(shell(command).code == 0);
  check_same_runs(run, fixture.run);
}

BOOST_AUTO_TEST_CASE(a_run_killed_at_random_moments_resumes_exactly) {
  const Unbroken& fixture = unbroken();
  const std::string run = fixture.scratch / "killed";
  Rng rng(static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
  for (int kill = 0; kill < 3; ++kill) {
    Process process(long_training(fixture, run, {"--resume"}));
    const int64_t rows = 20 + 30 * kill + static_cast<int64_t>(rng.below(20));
    BOOST_TEST_REQUIRE(reach(process, run, rows));
    std::this_thread::sleep_for(std::chrono::microseconds(rng.below(20000)));
    process.send(SIGKILL);
    BOOST_TEST_CONTEXT("killed after " << rows << " rows") { BOOST_TEST(process.wait().code == 128 + SIGKILL); }
  }
  BOOST_TEST_REQUIRE(run_ratel(long_training(fixture, run, {"--resume"})).code == 0);
  check_same_runs(run, fixture.run);
}

BOOST_AUTO_TEST_CASE(a_finished_run_resumes_to_nothing_and_a_changed_one_is_refused) {
  const Unbroken& fixture = unbroken();
  BOOST_TEST(run_ratel(long_training(fixture, fixture.run, {"--resume"})).code == 0);
  BOOST_TEST(rows_of(fixture.run) == kSteps);
  const Ended again = run_ratel(long_training(fixture, fixture.run));
  BOOST_TEST(again.code == 2);
  BOOST_TEST(again.err.find("--resume") != std::string::npos, again.err);
  const Ended changed = run_ratel(long_training(fixture, fixture.run, {"--resume", "--data.batch_size=4"}));
  BOOST_TEST(changed.code == 2);
  BOOST_TEST(changed.err.find("data.batch_size was 8, is 4") != std::string::npos, changed.err);
}

BOOST_AUTO_TEST_CASE(resuming_where_nothing_is_starts_with_a_plain_line) {
  const Unbroken& fixture = unbroken();
  const std::string run = fixture.scratch / "anew";
  const Ended ended = run_ratel(long_training(fixture, run, {"--resume", "--train.steps=1"}));
  BOOST_TEST(ended.code == 0);
  BOOST_TEST(ended.err.starts_with(run + ": nothing to resume, starting anew\n"), ended.err);
  BOOST_TEST(ended.err.find("ratel: ") == std::string::npos, ended.err);
}

BOOST_AUTO_TEST_CASE(a_second_interrupt_ends_at_once) {
  const Unbroken& fixture = unbroken();
  const std::string run = fixture.scratch / "twice";
  // A step of this run takes far longer than the test waits.
  Process process(long_training(fixture, run, {"--data.batch_size=64", "--data.seq_len=512", "--model.channels=256"}));
  while (process.is_running() && !fs::exists(run + "/config.toml")) std::this_thread::sleep_for(milliseconds(1));
  process.send(SIGINT);
  std::this_thread::sleep_for(milliseconds(20));
  process.send(SIGINT);
  BOOST_TEST(process.wait().code == 130);
  BOOST_TEST(rows_of(run) == 0);
  BOOST_TEST(run_ratel(long_training(fixture, run, {"--resume", "--train.steps=1", "--data.batch_size=1"})).code == 0);
}

}  // namespace ratel::test
