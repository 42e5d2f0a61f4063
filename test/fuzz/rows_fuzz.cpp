// Whatever the bytes: a text or one Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "text/rows.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  try {
    ratel::text_of_row(line, "text", "fuzz:1");
  } catch (const ratel::Error&) {
  }
  return 0;
}
