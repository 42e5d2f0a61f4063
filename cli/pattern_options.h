#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "models/rat_plus.h"

namespace ratel::cli {

/// --pattern FILE, or --dilation, --window and --initial: one value for all layers, or one a layer.
struct PatternOptions {
  std::string file;
  std::vector<int64_t> dilation, window, initial;

  void add_to(Options& options);
  [[nodiscard]] bool any() const { return !file.empty() || !dilation.empty() || !window.empty() || !initial.empty(); }
  /// What was given, else dilation 1, window 0, initial 0. Throws Error(usage) where a list does not fit or a file
  /// comes with lists, and Error(input) for the file.
  [[nodiscard]] ModelPattern pattern(const RatPlusConfig& config) const;
};

/// The pattern of a command: the one asked for, or the one the model was adapted to, or dense. Where the first two are
/// there and differ, it says so on stderr. Throws as PatternOptions::pattern does.
ModelPattern choose_pattern(const PatternOptions& asked, const std::optional<ModelPattern>& adapted,
                            const RatPlusConfig& config);

/// "D=16 W=0 S=0".
std::string text_of(const ModelPattern& pattern);

}  // namespace ratel::cli
