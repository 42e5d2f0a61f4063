#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "text/documents.h"
#include "text/inputs.h"
#include "text/tokenizer.h"

namespace ratel {

/// How far tokenize_corpus() has come.
struct CorpusProgress {
  uint64_t used = 0;              ///< bytes of the input files, compressed ones as they are
  std::optional<uint64_t> total;  ///< of these; nothing where one of them does not say
  int64_t text_bytes = 0, tokens = 0, documents = 0, bad = 0;
};

struct CorpusOptions {
  std::string text_field = "text";  ///< the member of a row that is its document
  int64_t max_bad = 0;              ///< bad rows that are left out before it is an error
  int threads = 0;                  ///< that encode, no more than there are processors; 0: as many
  std::string output = {};          ///< the token file
  std::string validation = {};      ///< that of the documents set apart; empty: there is none
  double validation_fraction = 0.01;
  uint64_t seed = 0;                ///< of which documents are set apart
  std::function<bool()> stop = {};  ///< asked by any thread, one at a time
  std::function<void(const CorpusProgress&)> progress = {};
  std::function<void(const std::string&)> bad = {};  ///< is told of each of the first bad rows: "path:line: what"
};

struct TokenCounts {
  int64_t tokens = 0, documents = 0, text_bytes = 0;
};

struct CorpusResult {
  enum class Status { finished, stopped };
  Status status = Status::finished;
  TokenCounts train, validation;
  int64_t bad = 0;    ///< rows left out
  int64_t empty = 0;  ///< documents without a token, which are left out too
};

/// Bad rows that CorpusOptions::bad is told of.
inline constexpr int64_t kBadShown = 10;

/// Whether a document goes to validation: a function of its index among the documents that are written, and of the
/// seed.
bool is_validation(uint64_t document, uint64_t seed, double fraction);

/// Throws Error(usage), which names both, where two of the files that tokenize_corpus() is to write are one, or one of
/// them is an input or the tokenizer's.
void check_files(const Tokenizer& tokenizer, const std::vector<InputFile>& files, const CorpusOptions& options);

/// Turns documents into token files with sidecars (io/token_file.h): the ids of each and end-of-text, in the order of
/// the files. The bytes written do not depend on the number of threads. Memory does not
/// depend on the files' sizes. It is that of 4 blocks a thread (DocumentReader) and their tokens, about 2 MiB for each,
/// and for rows of up to DocumentReader::kMostBytes up to 9 times their length. What cannot be cut, of at most
/// io::kUncutBytes, takes a thread that encodes it about 160 bytes a byte more.
///
/// Stopped, or where it throws, it leaves what was at the outputs' paths. Throws Error(input) for files that cannot be
/// read, for more bad rows than allowed, and where there is no text; Error(usage) for options that cannot be, and as
/// check_files() does; Error(disk).
CorpusResult tokenize_corpus(const Tokenizer& tokenizer, const std::vector<InputFile>& files,
                             const CorpusOptions& options);

}  // namespace ratel
