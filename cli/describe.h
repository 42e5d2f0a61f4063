#pragma once

#include <cstdint>
#include <string>

#include "io/json.h"

namespace ratel::cli {

/// What a path holds, as a JSON object whose first member is "kind": model, run, checkpoint, safetensors, tokens,
/// metrics, config or json. Throws Error(input) where it is damaged or nothing ratel knows.
///   vocab_size   for token files: decides between u16 and u32 ids, which must be below it
io::Json describe(const std::string& path, int64_t vocab_size);

/// The object for people: a line a member, nested members below their parent, arrays of objects as tables.
std::string as_text(const io::Json& object);

}  // namespace ratel::cli
