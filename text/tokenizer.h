#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/enum_names.h"

namespace ratel {

/// How text becomes token ids.
enum class TokenizerKind {
  none,           ///< ids come from elsewhere
  bytes,          ///< text/byte_tokenizer.h
  sentencepiece,  ///< a .model file
};
EnumNames<TokenizerKind> names_of(TokenizerKind);  ///< "bytes", "sentencepiece", "none"

/// Which part of a document a text is. What comes between documents, end-of-text, is the caller's to add.
enum class Part {
  first,  ///< its beginning, or all of it
  rest,   ///< what follows a cut(): no space is put before it
};

class SentencePieceModel;

/// Text to token ids and back. A handle: copies share what was read, and any number of threads may use it at once.
class Tokenizer {
 public:
  /// Ids 0 to 255 are the bytes, 256 is end-of-text.
  static Tokenizer bytes() { return {}; }

  [[nodiscard]] TokenizerKind kind() const { return model_ ? TokenizerKind::sentencepiece : TokenizerKind::bytes; }
  /// "bytes", or the path of the .model file: what a message calls it.
  [[nodiscard]] std::string name() const;
  /// Ids are in [0, vocab_size).
  [[nodiscard]] int64_t vocab_size() const;
  /// The end-of-text id, which encode() does not add; nothing where a .model file has none.
  [[nodiscard]] std::optional<int64_t> eos() const;
  /// SHA-256 of the .model file, 64 hexadecimal digits; empty for bytes.
  [[nodiscard]] std::string hash() const;
  /// The .model file, byte for byte; empty for bytes.
  [[nodiscard]] std::string_view file_bytes() const;

  /// The ids of a text. Many texts, or long ones: Encoder, which is several times as fast.
  [[nodiscard]] std::vector<int64_t> encode(std::string_view text, Part part = Part::first) const;

  /// The text of ids; control tokens, eos among them, have none. It need not be valid UTF-8, since ids may spell any
  /// bytes. Throws Error for an id outside [0, vocab_size).
  [[nodiscard]] std::string decode(std::span<const int64_t> ids) const;

  /// The largest place in (0, text.size()) where a document may be cut in two without changing its ids:
  ///   encode(text, part) == encode(text up to there, part), then encode(text from there, Part::rest)
  /// 0 where there is none. Looks back no further than it must.
  [[nodiscard]] size_t last_cut(std::string_view text) const;

 private:
  std::shared_ptr<const SentencePieceModel> model_;  // null: bytes
};

/// Encodes with a memory of the words it has seen, of bounded size. One a thread.
class Encoder {
 public:
  explicit Encoder(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}

  /// Appends the ids of a text.
  void encode(std::string_view text, std::vector<int64_t>& ids, Part part = Part::first);
  [[nodiscard]] const Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  Tokenizer tokenizer_;
};

}  // namespace ratel
