#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <limits>

#include "cli/output.h"

namespace ratel::cli {
namespace {

const std::string kClearLine = "\r\x1b[K";
constexpr auto kRedrawEvery = std::chrono::milliseconds(100);
constexpr auto kPrintEvery = std::chrono::seconds(5);

/// Columns of the terminal; a longer line would wrap and could not be redrawn.
size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

ProgressLine::ProgressLine() : is_terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now()) {}

size_t ProgressLine::width() const { return is_terminal_ ? terminal_width() - 1 : std::numeric_limits<size_t>::max(); }

bool ProgressLine::is_due() const { return Clock::now() >= next_; }

void ProgressLine::show(std::string_view text, Show when) {
  if (when == Show::when_due && !is_due()) return;
  if (is_terminal_) {
    line_ = text.substr(0, width());
    draw();
    next_ = Clock::now() + kRedrawEvery;
  } else {
    note_line(text);
    next_ = Clock::now() + kPrintEvery;
  }
}

void ProgressLine::draw() const {
  const std::string all = kClearLine + line_;
  std::fwrite(all.data(), 1, all.size(), stderr);
}

void ProgressLine::note(std::string_view text) const {
  note_line(line_.empty() ? std::string(text) : kClearLine + std::string(text));
  if (!line_.empty()) draw();
}

void ProgressLine::finish() {
  if (!line_.empty()) note_line("");
  line_.clear();
}

}  // namespace ratel::cli
