// Whatever the bytes: what they decompress to, the same through small buffers as through large ones, or one Error. The
// first byte chooses the format, and whether to compare: most of the time goes into making a decompressor.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "core/error.h"
#include "io/byte_stream.h"

namespace {

constexpr size_t kMost = 1 << 12;  // of a bomb nobody wants all
constexpr uint64_t kSmallWindow = uint64_t{1} << 16;

/// Bytes of memory that the first frame of zstd asks for: its window, or its content where that is one segment.
uint64_t window_of(std::span<const uint8_t> frame) {
  if (frame.size() < 6) return 0;
  const unsigned descriptor = frame[4];
  if ((descriptor & 0x20u) == 0) return uint64_t{1} << (10u + (frame[5] >> 3u));
  constexpr size_t kDictionary[] = {0, 1, 2, 4};
  const size_t begin = 5 + kDictionary[descriptor & 3u], bytes = size_t{1} << (descriptor >> 6u);
  uint64_t size = 0;
  for (size_t i = std::min(begin + bytes, frame.size()); i > begin; --i) size = size << 8u | frame[i - 1];
  return size;
}

/// What comes before the end or an Error; "!" at the end stands for one.
std::string content(std::span<const uint8_t> data, ratel::io::Compression compression, size_t piece) {
  std::string text, buffer(piece, '\0');
  try {
    const auto stream = decompressed(ratel::io::stream_of(std::as_bytes(data), "fuzz"), compression);
    while (text.size() < kMost) {
      const size_t count = stream->read(std::as_writable_bytes(std::span(buffer)));
      if (count > piece || stream->position() > data.size()) std::abort();
      if (count == 0) return text;
      text.append(buffer, 0, count);
    }
  } catch (const ratel::Error&) {
    text += "!";
  }
  text.resize(std::min(text.size(), kMost));
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto compression = data[0] % 2 == 0 ? ratel::io::Compression::gzip : ratel::io::Compression::zstd;
  const std::span<const uint8_t> bytes(data + 1, size - 1);
  // Large windows take a thousand times as long as all the rest: one in 32 of them must do.
  const bool is_large = compression == ratel::io::Compression::zstd && window_of(bytes) > kSmallWindow;
  if (is_large && data[0] / 8 != 0) return 0;
  const std::string large = content(bytes, compression, kMost);
  if (data[0] / 2 % 4 != 0) return 0;
  const std::string small = content(bytes, compression, 97);
  // Of damaged data more or less may come before the damage is seen.
  const bool is_damaged = large.ends_with('!') || small.ends_with('!');
  if (!is_damaged && large != small) std::abort();
  return 0;
}
