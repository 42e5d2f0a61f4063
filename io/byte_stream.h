#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace ratel::io {

/// Bytes that come one after the other, in constant memory.
class ByteStream {
 public:
  ByteStream() = default;
  virtual ~ByteStream() = default;
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  /// Fills `out` from its front and returns the number of bytes; 0 at the end, and where the stream was interrupted.
  /// Throws Error(input), of compressed streams as "path:offset: ..." with the offset in the compressed bytes.
  virtual size_t read(std::span<std::byte> out) = 0;
  /// Bytes of the file that have been used; of a compressed one, compressed bytes.
  [[nodiscard]] virtual uint64_t position() const = 0;
  /// Whether the last read() returned 0 because it was told to stop.
  [[nodiscard]] virtual bool interrupted() const = 0;
  /// The name for messages.
  [[nodiscard]] virtual const std::string& path() const = 0;
};

/// A file, a pipe, or stdin for "-". A read that has to wait asks `stop` about twenty times a second, and is
/// interrupted where that is true. Throws Error(input) where it cannot be opened, or is a folder.
std::unique_ptr<ByteStream> open_stream(const std::string& path, std::function<bool()> stop = {});

/// Bytes in memory, which must outlive the stream.
std::unique_ptr<ByteStream> stream_of(std::span<const std::byte> bytes, std::string path);

enum class Compression { none, gzip, zstd };

/// The contents of a compressed stream; itself for Compression::none. Members of gzip and frames of zstd may follow one
/// another. read() throws for a stream that ends early, for bytes after its end, for wrong checksums, and for a zstd
/// window above 128 MiB (made by zstd --long=28 and more). An empty stream ends early too.
/// Source: RFC 1952, RFC 8878.
std::unique_ptr<ByteStream> decompressed(std::unique_ptr<ByteStream> stream, Compression compression);
std::unique_ptr<ByteStream> gunzipped(std::unique_ptr<ByteStream> stream);
std::unique_ptr<ByteStream> unzstd(std::unique_ptr<ByteStream> stream);

}  // namespace ratel::io
