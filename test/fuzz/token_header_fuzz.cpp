// Whatever the bytes: a header that fits the file, none, or one Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "core/error.h"
#include "io/token_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto header = ratel::io::parse_token_header(std::as_bytes(std::span(data, size)), "fuzz");
    if (header && header->bytes + static_cast<size_t>(header->tokens) * static_cast<size_t>(header->width) != size)
      std::abort();
  } catch (const ratel::Error&) {
  }
  return 0;
}
