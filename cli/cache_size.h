#pragma once

#include <cstdint>
#include <string>

#include "cli/model_options.h"
#include "io/json.h"
#include "models/rat_plus.h"

namespace ratel::cli {

/// The bytes of a model's KV cache for one sequence of `context` tokens, with a pattern and with a dense one.
struct CacheSize {
  int64_t context, bytes, dense_bytes;
};
CacheSize cache_size(const OpenedModel& model, const ModelPattern& pattern, int64_t context);

/// {"context": 4096, "bytes": ..., "dense_bytes": ...}
io::Json to_json(const CacheSize& size);
/// "1.5 MiB for 4,096 tokens, 6.2% of the dense 24.0 MiB"
std::string text_of(const CacheSize& size);

}  // namespace ratel::cli
