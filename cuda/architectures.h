#pragma once

#include <algorithm>
#include <charconv>
#include <string_view>

namespace ratel::cuda {

/// Whether code for one of CMake's CUDA architectures runs on a GPU of compute capability major.minor: "80-real",
/// machine code, on its own generation from that number on, with an `a` on exactly that, with an `f` on its family;
/// "80-virtual", compiled by the driver, on all later ones too; "80" is both. True where that cannot be told, as of
/// "native".
inline bool architecture_runs_on(std::string_view architecture, int major, int minor) {
  int number = 0;
  const char* const end = architecture.data() + architecture.size();
  const auto [rest, error] = std::from_chars(architecture.data(), end, number);
  if (error != std::errc()) return true;
  std::string_view kind(rest, static_cast<size_t>(end - rest));
  const int own = number / 10, least = number % 10;
  if (kind.starts_with('a')) return major == own && minor == least;
  const bool of_family = kind.starts_with('f');
  if (of_family) kind.remove_prefix(1);
  if (major == own) return minor >= least;
  return !of_family && kind != "-real" && major > own;
}

/// The same of one of several, with commas between them.
inline bool architectures_run_on(std::string_view architectures, int major, int minor) {
  while (true) {
    const size_t comma = std::min(architectures.find(','), architectures.size());
    if (architecture_runs_on(architectures.substr(0, comma), major, minor)) return true;
    if (comma == architectures.size()) return false;
    architectures.remove_prefix(comma + 1);
  }
}

}  // namespace ratel::cuda
