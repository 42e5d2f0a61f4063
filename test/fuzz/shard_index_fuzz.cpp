// Whatever the bytes: an answer or one Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "io/sharded_safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    ratel::io::parse_shard_index({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const ratel::Error&) {
  }
  return 0;
}
