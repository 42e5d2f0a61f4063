// Whatever the bytes: entries inside them that unpack to their size, or one Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "core/error.h"
#include "io/zip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ratel::io::ZipEntry;
  using ratel::io::ZipMethod;
  const auto archive = std::as_bytes(std::span(data, size));
  std::vector<ZipEntry> entries;
  try {
    entries = ratel::io::parse_zip(archive, "fuzz");
  } catch (const ratel::Error&) {
  }
  for (const ZipEntry& entry : entries) {
    if (entry.begin > entry.end || entry.end > size) std::abort();
    try {
      std::vector<std::byte> content(entry.method == ZipMethod::deflated ? entry.size : 0);
      if (entry.method == ZipMethod::deflated)
        ratel::io::inflate(archive, entry, content, "fuzz");
      else
        ratel::io::check_crc(archive, entry, "fuzz");
    } catch (const ratel::Error&) {
    }
  }
  return 0;
}
