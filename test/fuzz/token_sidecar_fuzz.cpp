// Whatever the bytes: a sidecar that reads back as it is written, or one Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "io/token_sidecar.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto sidecar = ratel::io::parse_token_sidecar(text, "fuzz");
    if (!(ratel::io::parse_token_sidecar(to_text(sidecar), "again") == sidecar)) std::abort();
  } catch (const ratel::Error&) {
  }
  return 0;
}
