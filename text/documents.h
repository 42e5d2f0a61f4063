#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "io/byte_stream.h"
#include "io/limits.h"
#include "text/inputs.h"
#include "text/tokenizer.h"

namespace ratel {

/// A document, or a part of one.
struct DocumentPart {
  size_t begin = 0, size = 0;  ///< in Block::bytes
  size_t input = 0;            ///< index of its file
  uint64_t place = 0;          ///< of rows the line, from 1; else the offset in the uncompressed file
  bool is_first = true, is_last = true;
  std::string problem;  ///< not empty: what is wrong with the document, which ends here
};

/// Text of which a tokenizer finds no place to cut it within io::kUncutBytes.
inline std::string uncut_problem(std::string_view where) {
  return concat_text(where, ": too long to encode; expected a place to cut within ", io::kUncutBytes,
                     " bytes, found none");
}

/// What is read at once: the text of rows is still JSON.
struct Block {
  std::string bytes;
  std::vector<DocumentPart> parts;
  uint64_t used = 0;  ///< bytes of all files read so far, compressed ones as they are
};

/// Reads the documents of many files one after the other, in constant memory: a block holds about kBlockBytes, and more
/// only where a row, of at most kMostBytes, or what cannot be cut of a document, of at most io::kUncutBytes, is longer.
///
/// A document that is longer than a block comes in parts which Tokenizer::last_cut() allows, so that their ids are
/// those of the whole. One that has no cut within io::kUncutBytes, and a row of more than kMostBytes, have a problem. A
/// byte order mark at the beginning of a file and empty lines between rows are no text.
class DocumentReader {
 public:
  static constexpr size_t kBlockBytes = size_t{1} << 18, kMostBytes = size_t{1} << 24;

  using Open = std::function<std::unique_ptr<io::ByteStream>(const InputFile&)>;
  /// `open` gives the contents of a file.
  DocumentReader(std::vector<InputFile> files, Tokenizer tokenizer, Open open);

  /// The next block, in place of what was in `block`; false after the last one, and where a stream was interrupted.
  /// Throws Error(input) where a file cannot be read.
  bool next(Block& block);
  [[nodiscard]] bool interrupted() const { return interrupted_; }
  [[nodiscard]] const std::vector<InputFile>& files() const { return files_; }

 private:
  bool open_next();
  bool fill();
  void read_rows(Block& block);
  void read_whole(Block& block);
  void add_part(Block& block, size_t size, std::string problem = {});
  void close();

  std::vector<InputFile> files_;
  Tokenizer tokenizer_;
  Open open_;
  std::unique_ptr<io::ByteStream> stream_;
  std::string pending_;  // read, and not given out
  std::string buffer_;
  size_t next_file_ = 0;
  uint64_t used_before_ = 0;  // bytes of the files that have ended
  uint64_t place_ = 0;        // of what is pending: line or offset
  bool is_first_ = true;      // what is pending begins a document
  bool is_at_end_ = false;    // the stream has no more
  bool skips_ = false;        // the rest of a document with a problem
  bool interrupted_ = false;
};

}  // namespace ratel
