#include "cli/signals.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string_view>

#include "core/error.h"

namespace ratel::cli {
namespace {

std::atomic<int> first_signal{0};
bool catches_hangup = false;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch nothing else");

extern "C" void handle_signal(int number) {
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, number) && number == SIGINT) _exit(128 + SIGINT);
}

extern "C" void handle_bus_error(int, siginfo_t* info, void*) {
  if (info->si_code != BUS_ADRERR) {  // not of a mapped file
    std::signal(SIGBUS, SIG_DFL);
    std::raise(SIGBUS);
    return;
  }
  constexpr std::string_view kText =
      "ratel: a file became shorter while it was read, or its disk failed\n"
      "hint: let nothing write to it meanwhile; a training run goes on from its last checkpoint with --resume\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText.data(), kText.size());
  _exit(static_cast<int>(ErrorKind::input));
}

}  // namespace

void explain_bus_errors() {
  struct sigaction action {};
  action.sa_sigaction = handle_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

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
