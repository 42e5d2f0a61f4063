// Training killed with SIGKILL at random moments. Training runs in child processes only: a fork of a process whose
// thread pool has started would not have its threads.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "test/train/tiny_run.h"

namespace test = ratel::test;
namespace train = ratel::train;

namespace {

train::TrainOptions options(const test::TemporaryFolder& folder, const std::string& out, train::Start start,
                            int threads) {
  train::TrainOptions o;
  o.overrides = {"train.threads=" + std::to_string(threads)};
  o.config = folder / "config.toml";
  o.data = folder / "data.bin";
  o.out = folder / out;
  o.start = start;
  return o;
}

pid_t start_training(const train::TrainOptions& o) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  int code = 1;
  try {
    train::train_run(o);
    code = 0;
  } catch (const std::exception& error) {
    ::dprintf(2, "%s\n", error.what());
  }
  ::_exit(code);
}

void sleep_for(double seconds) {
  const auto whole = static_cast<time_t>(seconds);
  const timespec time{whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
  ::nanosleep(&time, nullptr);
}

double now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

BOOST_AUTO_TEST_CASE(killed_twenty_times_and_resumed_it_is_the_unbroken_run) {
  constexpr int kKills = 20;
  const test::TemporaryFolder folder;
  test::write_tokens(folder / "data.bin", test::tiny_tokens(300, 1));
  train::TrainConfig config = test::tiny_config();
  config.train.steps = 200;
  config.train.checkpoint_every = 1;  // most of the time goes into writing checkpoints: kills land there
  config.data.validation = folder / "held.bin";
  config.train.validate_every = 3;
  config.train.keep_best = true;
  test::write_tokens(folder / "held.bin", test::tiny_tokens(200, 2));
  test::write_config(folder / "config.toml", config);

  const double began = now();
  int status = -1;
  ::waitpid(start_training(options(folder, "whole", train::Start::fresh, 1)), &status, 0);
  const double seconds = now() - began;
  BOOST_REQUIRE(status == 0);

  ratel::Rng rng(1);
  int kills = 0;
  // A run may come to its end before it was killed often enough: then another one is started.
  for (int run = 1; kills < kKills && run <= 2 * kKills; ++run) {
    const std::string out = "killed" + std::to_string(run);
    do {  // sessions on one thread and on two in turn: the bits must not tell
      const pid_t child = start_training(options(folder, out, train::Start::resume, 1 + kills % 2));
      if (kills < kKills) {
        sleep_for(rng.uniform() * seconds / 10);
        ::kill(child, SIGKILL);
      }
      ::waitpid(child, &status, 0);
      if (WIFSIGNALED(status)) ++kills;
    } while (WIFSIGNALED(status));
    BOOST_TEST_REQUIRE(status == 0);
    test::check_same_run(folder / out, folder / "whole", config.train.steps, out);
    const auto best = [&](const std::string& name) { return train::best_checkpoint(folder / name)->step; };
    BOOST_TEST(best(out) == best("whole"));
  }
  BOOST_TEST(kills == kKills);
}
