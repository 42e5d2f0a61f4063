#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "models/rat_plus.h"

namespace ratel::cli {

/// --dilation, --window and --initial: one value for all layers, or one a layer.
struct PatternOptions {
  std::vector<int64_t> dilation, window, initial;

  void add_to(Options& options);
  [[nodiscard]] bool any() const { return !dilation.empty() || !window.empty() || !initial.empty(); }
  /// What was given, else dilation 1, window 0, initial 0. Throws Error(usage) where a list does not fit.
  [[nodiscard]] ModelPattern pattern(int64_t layers) const;
};

/// The pattern of a command: the one asked for, or the one the model was adapted to, or dense. Where the first two are
/// there and differ, it says so on stderr. Throws Error(usage) where the one asked for does not fit.
ModelPattern choose_pattern(const PatternOptions& asked, const std::optional<ModelPattern>& adapted, int64_t layers);

/// "D=16 W=0 S=0".
std::string text_of(const ModelPattern& pattern);

}  // namespace ratel::cli
