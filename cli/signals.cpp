#include "cli/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace ratel::cli {
namespace {

std::atomic<int> first_signal{0};
bool catches_hangup = false;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch nothing else");

extern "C" void handle_signal(int number) {
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, number) && number == SIGINT) _exit(128 + SIGINT);
}

}  // namespace

void release_signals() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  if (catches_hangup) std::signal(SIGHUP, SIG_DFL);
}

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = handle_signal;
  // No SA_RESTART: a read that waits for a terminal or a pipe returns, and its loop sees the flag.
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  // The terminal or the connection is gone; nohup, under which work goes on, had it ignored.
  struct sigaction hangup {};
  sigaction(SIGHUP, nullptr, &hangup);
  catches_hangup = hangup.sa_handler != SIG_IGN;
  if (catches_hangup) sigaction(SIGHUP, &action, nullptr);
}

int caught_signal() { return first_signal.load(std::memory_order_relaxed); }

}  // namespace ratel::cli
