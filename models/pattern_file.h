#pragma once

#include <string>
#include <string_view>

#include "models/rat_plus.h"

namespace ratel {

/// A pattern as a file for people to write. TOML:
///
///   dilation = 16          # what is not said of a layer: 1, 0, 0, 0, "last" where it is not said here either
///   window = 64
///   initial = 4
///   [[layer]]              # layer 0
///   dilation = [1, 16]     # a list has a value for each head
///   [[layer]]
///   repeat = 2             # layers 1 and 2
///   [[layer]]              # layer 3: top-k blocks of `dilation` tokens, without window and initial tokens
///   dilation = 64
///   top_blocks = 8
///   score = "mean"         # or "last", "minmax"
///
/// Without [[layer]] all layers are alike; with it there is one for each layer. A file whose name ends in .json holds
/// the same as one object, {"dilation": 16, "layer": [{...}, ...]}, or what to_json(ModelPattern) writes.

/// Throws Error(input) "path:line: key: ..." ("path: layer.3.key: ..." in JSON) for keys that there are not, naming the
/// nearest, values of the wrong type or range, lists that do not fit the model's heads, layers that do not fit its own,
/// and a file that says nothing.
ModelPattern read_pattern_file(const std::string& path, const RatPlusConfig& config);
/// The same of a text that is in memory; the path decides TOML or JSON, and is named in errors.
ModelPattern parse_pattern(std::string_view text, const std::string& path, const RatPlusConfig& config);

/// The TOML of a pattern, below lines of comment: parse_pattern reads back the same for every layer and head.
std::string to_toml(const ModelPattern& pattern, std::string_view comment = {});
/// Writes such a file; JSON, which has no comment, where its name ends in .json. Throws Error(disk).
void write_pattern_file(const std::string& path, const ModelPattern& pattern, std::string_view comment = {});

}  // namespace ratel
