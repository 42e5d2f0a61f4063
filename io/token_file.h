#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"

namespace ratel::io {

/// Bytes of a token id on disk: 2 up to a vocabulary of 65536, 4 above.
constexpr size_t token_bytes(int64_t vocab_size) { return vocab_size > 65536 ? 4 : 2; }

/// A flat file of little-endian token ids without a header, mapped into memory. Copies share it. Safe to read from
/// several threads.
class TokenFile {
 public:
  /// Throws Error(input) where the file is missing, empty or no whole number of tokens; Error(usage) for a vocabulary
  /// that is not in [1, 2^32].
  static TokenFile open(const std::string& path, int64_t vocab_size);

  [[nodiscard]] const std::string& path() const { return file_.path(); }
  [[nodiscard]] int64_t vocab_size() const { return vocab_size_; }
  /// Tokens in the file.
  [[nodiscard]] int64_t size() const { return size_; }

  /// Tokens [begin, begin + count), into out. Throws Error(usage) where they are not all in the file, and Error(input)
  /// "path:offset: ..." for an id that is not below the vocabulary size.
  void read(int64_t begin, int64_t count, int64_t* out) const;
  [[nodiscard]] int64_t token(int64_t position) const;
  /// Reads the whole file, or up to where `stop`, polled between pieces, is true. Throws Error(input) at the first id
  /// that is not below the vocabulary size.
  void validate(const std::function<bool()>& stop = {}) const;

  /// 64 hexadecimal digits that tell this data from other data when a run resumes: SHA-256 of the size and of 64 blocks
  /// of 64 KiB spread evenly from the first byte to the last, so of everything up to 4 MiB. Takes milliseconds for any
  /// size; a small change between two blocks of a longer file is not seen.
  [[nodiscard]] std::string fingerprint() const;

 private:
  MappedFile file_;
  int64_t vocab_size_ = 0;
  int64_t size_ = 0;
};

/// Writes such a file. It appears under its name when close() returns; without close() nothing is left.
class TokenFileWriter {
 public:
  /// Throws Error(disk), and Error(usage) for a vocabulary that is not in [1, 2^32].
  TokenFileWriter(std::string path, int64_t vocab_size);

  /// Throws Error(usage) for an id that is not in [0, vocab_size), before any of these ids is written; Error(disk).
  void append(std::span<const int64_t> ids);
  /// Tokens appended so far.
  [[nodiscard]] int64_t size() const { return size_; }
  /// Brings the file to the disk and to its name. Throws Error(disk), and Error(usage) where it has no tokens.
  void close();

 private:
  std::string path_;
  int64_t vocab_size_;
  int64_t size_ = 0;
  AtomicFile file_;
  std::vector<std::byte> pending_;
};

}  // namespace ratel::io
