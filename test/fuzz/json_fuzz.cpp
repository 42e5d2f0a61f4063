// Whatever the bytes: an answer or one Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    ratel::io::parse_json(text, "fuzz");
  } catch (const ratel::Error&) {
  }
  return 0;
}
