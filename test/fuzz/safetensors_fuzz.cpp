// Whatever the bytes: an answer or one Error.
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/error.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    ratel::io::parse_safetensors(bytes, "fuzz");
  } catch (const ratel::Error&) {
  }
  return 0;
}
