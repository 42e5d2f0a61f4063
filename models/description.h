#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "core/enum_names.h"
#include "io/json.h"
#include "models/rat_plus.h"
#include "text/tokenizer.h"

namespace ratel {

/// What is to be known of a model next to its weights.
struct ModelDescription {
  RatPlusConfig config;
  std::optional<Tokenizer> tokenizer = Tokenizer::bytes();  ///< nothing: ids come from elsewhere
  std::optional<ModelPattern> adapted;                      ///< the pattern its weights were adapted to, if any

  /// Throws Error where the configuration is not valid, it has fewer words than the tokenizer, or the pattern does not
  /// fit it.
  void validate() const;
  friend bool operator==(const ModelDescription&, const ModelDescription&) = default;
};

/// As JSON, to be read by people:
///   {"vocab_size": 257, ..., "recurrence": "gated", "norm_eps": 1e-06, "rope_base": 10000.0}
///   [[{"dilation": 16, "window": 0, "initial": 0}]]        layers of heads: one for all, or one each
/// Of top-k blocks with "top_blocks": 8, and "score": "last", "mean" or "minmax", which may be missing: "last".
io::Json to_json(const RatPlusConfig& config);
io::Json to_json(const ModelPattern& pattern);

/// The reverse. Each throws Error (input), naming the path in the document, for members that are missing, of a wrong
/// type or unknown (all of them at once), and for values that cannot work.
RatPlusConfig rat_plus_config_from_json(const io::JsonCursor& json);
ModelPattern model_pattern_from_json(const io::JsonCursor& json);

EnumNames<Recurrence> names_of(Recurrence);  ///< "gated", "none"
EnumNames<BlockScore> names_of(BlockScore);  ///< "last", "mean", "minmax"
/// The value that a member names. Throws Error (input) with the names there are.
Recurrence recurrence_from_json(const io::JsonCursor& json);

/// Throws Error (input) that lists every member of the object that is not among `known`, with the nearest that is.
void check_members(const io::JsonCursor& json, std::span<const std::string_view> known);

}  // namespace ratel
