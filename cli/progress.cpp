#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <limits>

#include "cli/output.h"

namespace ratel::cli {
namespace {

constexpr auto kRedrawEvery = std::chrono::milliseconds(100);
constexpr auto kPrintEvery = std::chrono::seconds(5);

/// Columns of the terminal; a longer line would wrap and could not be redrawn.
size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

ProgressLine::ProgressLine() : is_terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now()) {}

size_t ProgressLine::width() const {
  return is_terminal_ ? terminal_width() - 1 : std::numeric_limits<size_t>::max();
}

bool ProgressLine::is_due() const { return Clock::now() >= next_; }

void ProgressLine::show(std::string_view text, Show when) {
  if (when == Show::when_due && !is_due()) return;
  if (is_terminal_) {
    const std::string line = concat_text("\r\x1b[K", text.substr(0, width()));
    std::fwrite(line.data(), 1, line.size(), stderr);
    is_open_ = true;
    next_ = Clock::now() + kRedrawEvery;
  } else {
    note_line(text);
    next_ = Clock::now() + kPrintEvery;
  }
}

void ProgressLine::note(std::string_view text) const { note_line(concat_text(is_open_ ? "\r\x1b[K" : "", text)); }

void ProgressLine::finish() {
  if (is_open_) note_line("");
  is_open_ = false;
}

}  // namespace ratel::cli
