#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "io/token_sidecar.h"

namespace ratel::io {

/// 64 hexadecimal digits that tell this data from other data when a run resumes: SHA-256 of the size and of 64 blocks
/// of 64 KiB spread evenly from the first byte to the last, so of everything up to 4 MiB. Takes milliseconds for any
/// size; a small change between two blocks of a longer file is not seen.
std::string token_fingerprint(std::span<const std::byte> file);

/// What llm.c puts before its tokens.
struct TokenHeader {
  size_t bytes = 0;  ///< of the header: where the ids begin
  TokenWidth width = TokenWidth::two;
  int64_t tokens = 0;
};
/// The header of a file of these bytes; nothing where it has none. Throws Error(input) "path:offset: ..." for one that
/// is cut short, of another version, or disagrees with the size of the file.
std::optional<TokenHeader> parse_token_header(std::span<const std::byte> file, std::string_view path);

/// A flat file of little-endian token ids of 2 or 4 bytes, mapped into memory. Copies share it. Safe to read from
/// several threads.
///
/// Without a header, as ratel and most others write it; or behind the header of 1024 bytes that llm.c writes: 256
/// int32, of which the first three are the magic number, the version and the count of tokens: (20240520, 1) before ids
/// of 2 bytes, (20240801, 7) before ids of 4. A file with a sidecar has no header.
/// Source: github.com/karpathy/llm.c, dev/data/data_common.py.
class TokenFile {
 public:
  /// What the sidecar, the header or, without both, the vocabulary say decides the width of the ids.
  ///   vocab_size   that of who reads it; without it that of the sidecar, or what ids of the header's width can name
  /// Throws Error(input) where the file is missing, empty or no whole number of tokens, where sidecar or header
  /// disagree with it, and where it was written for a vocabulary larger than vocab_size; Error(usage) for a vocabulary
  /// that is not in [1, 2^32], and for none where the file does not tell.
  static TokenFile open(const std::string& path, std::optional<int64_t> vocab_size = {});

  [[nodiscard]] const std::string& path() const { return file_.path(); }
  [[nodiscard]] int64_t vocab_size() const { return vocab_size_; }
  [[nodiscard]] TokenWidth width() const { return width_; }
  /// Tokens in the file.
  [[nodiscard]] int64_t size() const { return size_; }
  [[nodiscard]] const std::optional<TokenSidecar>& sidecar() const { return sidecar_; }
  /// "flat", or "llm.c" where it has that header.
  [[nodiscard]] std::string_view layout() const { return begin_ == 0 ? "flat" : "llm.c"; }

  /// Tokens [begin, begin + count), into out. Throws Error(usage) where they are not all in the file, and Error(input)
  /// "path:offset: ..." for an id that is not below the vocabulary size.
  void read(int64_t begin, int64_t count, int64_t* out) const;
  [[nodiscard]] int64_t token(int64_t position) const;
  /// Reads the whole file, or up to where `stop`, polled between pieces, is true. Throws Error(input) at the first id
  /// that is not below the vocabulary size.
  void validate(const std::function<bool()>& stop = {}) const;

  /// token_fingerprint() of the file.
  [[nodiscard]] std::string fingerprint() const { return token_fingerprint(file_.bytes()); }

 private:
  void check_sidecar() const;
  [[nodiscard]] size_t offset_of(int64_t token) const;
  [[noreturn]] void fail_outside(int64_t position, int64_t id) const;

  MappedFile file_;
  std::optional<TokenSidecar> sidecar_;
  size_t begin_ = 0;  // of the first token, in bytes
  TokenWidth width_ = TokenWidth::two;
  int64_t vocab_size_ = 0;
  int64_t size_ = 0;
};

/// Appends ids as they stand in a file for that vocabulary. Throws Error(usage) for one that is not in [0, vocab_size);
/// nothing is appended then.
void append_tokens(std::span<const int64_t> ids, int64_t vocab_size, std::vector<std::byte>& out);

/// Writes a file without a header. It appears under its name, and its sidecar beside it, when close() or commit()
/// returns; without them nothing is left, and what was there stays.
class TokenFileWriter {
 public:
  /// Throws Error(disk), and Error(usage) for a vocabulary that is not in [1, 2^32].
  TokenFileWriter(std::string path, int64_t vocab_size);

  /// Throws Error(usage) for an id that is not in [0, vocab_size), before any of these ids is written; Error(disk).
  void append(std::span<const int64_t> ids);
  /// The same for what append_tokens() made of ids of this vocabulary. Throws Error(disk).
  void append_encoded(std::span<const std::byte> tokens);
  /// Tokens appended so far.
  [[nodiscard]] int64_t size() const;
  /// Takes back all but the first `size` tokens. Throws Error(disk).
  void shorten_to(int64_t size);

  /// Brings the file to the disk and to its name, without a sidecar; one that is there goes. Throws Error(disk), and
  /// Error(usage) where it has no tokens.
  void close();
  /// The same with a sidecar, whose vocabulary, width, tokens and fingerprint are set here.
  void close(TokenSidecar about);
  /// The two halves of close(about), for several files that are to appear together: all that needs space, and the
  /// names.
  void prepare(TokenSidecar about);
  void commit();

 private:
  void flush();

  std::string path_;
  int64_t vocab_size_;
  uint64_t written_ = 0;  // bytes
  AtomicFile file_;
  std::vector<std::byte> pending_;
  std::optional<AtomicFile> sidecar_;
};

}  // namespace ratel::io
