#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "io/json.h"

namespace ratel::cli {

/// What a path holds, as a JSON object whose first member is "kind": model, run, checkpoint, safetensors, pytorch,
/// tokens, tokenizer, metrics, config or json. Throws Error(input) where it is damaged or nothing ratel knows.
///   vocab_size   for token files without sidecar and header: ids are below it, and of 2 bytes up to 65536
io::Json describe(const std::string& path, std::optional<int64_t> vocab_size);

/// Of a SentencePiece .model file alone.
io::Json describe_tokenizer(const std::string& path);

/// The object for people: a line a member, nested members below their parent, arrays of objects as tables.
std::string as_text(const io::Json& object);

}  // namespace ratel::cli
