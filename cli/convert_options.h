#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/dtype.h"
#include "models/description.h"

namespace ratel::cli {

/// "2GB", "500 MB", "4GiB", "1e9", "4096": bytes. GB and the like count in thousands, GiB in 1024; letters in either
/// case. Throws Error(usage) naming the option for anything else, for less than a byte and more than 2^62.
uint64_t parse_bytes(std::string_view text, std::string_view option);

/// The names that tensors are written under.
enum class TensorNames {
  ours,    ///< "layers.0.mixer.in_proj.weight"
  authors  ///< models/names.h
};

/// What the command line of `ratel convert` says.
struct ConvertOptions {
  std::string input, output;
  std::optional<int64_t> heads;
  std::optional<DType> dtype;
  std::optional<std::string> tokenizer;  ///< "none", "bytes" or a .model file
  uint64_t shard_bytes = 0;
  TensorNames names = TensorNames::ours;
  bool force = false, json = false;

  /// The output is one file, because it is called so.
  [[nodiscard]] bool writes_a_file() const { return output.ends_with(".safetensors"); }
};

/// Nothing where the help was asked for and printed. Throws Error(usage).
std::optional<ConvertOptions> parse_convert_options(std::span<const std::string> args);

}  // namespace ratel::cli
