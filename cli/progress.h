#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/clock.h"

namespace ratel::cli {

/// What a long command is doing, on stderr: one redrawn line on a terminal, a plain line every few seconds in a pipe.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine() { finish(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  enum class Show {
    when_due,  ///< not more often than a reader can follow
    always,    ///< the first and the last
  };
  /// Characters of a line that fit on the terminal; in a pipe any number.
  [[nodiscard]] size_t width() const;
  /// True where a line shown now would be seen: spares the making of one that would not.
  [[nodiscard]] bool is_due() const;
  void show(std::string_view text, Show when = Show::when_due);
  /// A line that stays, above the redrawn one.
  void note(std::string_view text) const;
  /// Leaves the last line standing.
  void finish();

 private:
  void draw() const;

  bool is_terminal_;
  std::string line_;  // what is on the terminal without a line break
  Clock::time_point next_;
};

}  // namespace ratel::cli
