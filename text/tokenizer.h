#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
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
  rest,   ///< what follows a last_cut(): no space is put before it
};

class SentencePieceModel;

/// Text to token ids and back. A handle: copies share what was read, and any number of threads may use it at once.
///
/// What comes back: decode(encode(text)) == text for every text, whatever its bytes, of bytes and of a lossless()
/// SentencePiece model, as LLaMA's is: one with byte_fallback and a piece for the space, that neither replaces
/// characters (normalizer "identity") nor removes spaces. Its ids are those of the SentencePiece library with two
/// exceptions, which the library does not bring back: a byte that is no UTF-8 (it makes U+FFFD of it) and U+2581, which
/// pieces use for the space (it makes a space of it), are spelled in byte tokens. Other models do to a text what their
/// settings say: what comes back is normalised, and of characters that have no piece `<unk>` is left.
class Tokenizer {
 public:
  /// Ids 0 to 255 are the bytes, 256 is end-of-text.
  static Tokenizer bytes() { return {}; }
  /// A SentencePiece .model file. It is to be trusted: its framing is checked, but what it holds goes on to
  /// libsentencepiece, which was not written for files of strangers. Throws Error(input).
  static Tokenizer open(const std::string& path);
  /// The same of bytes that were read already; `path` is what errors and name() call them.
  static Tokenizer from_model(std::string bytes, const std::string& path);
  /// "bytes", or the path of a .model file. Throws Error(usage) for another name, Error(input) as open() does.
  static Tokenizer named(const std::string& name);

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
  [[nodiscard]] bool lossless() const;
  /// What a .model file says; null for bytes.
  [[nodiscard]] const SentencePieceModel* model() const { return model_.get(); }

  /// The ids of a text. Many texts, or long ones: Encoder, which is several times as fast.
  [[nodiscard]] std::vector<int64_t> encode(std::string_view text, Part part = Part::first) const;

  /// The text of ids; control tokens, eos among them, have none. It need not be valid UTF-8, since ids may spell any
  /// bytes. Throws Error for an id outside [0, vocab_size).
  [[nodiscard]] std::string decode(std::span<const int64_t> ids) const;
  /// The text of one id where others stand before it. Throws as decode() does.
  [[nodiscard]] std::string_view text_of(int64_t id) const;

  /// A late place in (0, text.size()) where a document may be cut in two without changing its ids, whatever follows:
  ///   encode(text, part) == encode(text up to there, part), then encode(text from there, Part::rest)
  /// 0 where there is none: in what is to this tokenizer one long word, and always where it is not lossless.
  [[nodiscard]] size_t last_cut(std::string_view text) const;

  /// Whether they make the same of every text.
  friend bool operator==(const Tokenizer& a, const Tokenizer& b) { return a.hash() == b.hash(); }

 private:
  friend class StreamingDecoder;
  [[nodiscard]] bool loses_space(int64_t id) const;  // at the beginning of a text
  [[nodiscard]] bool removes_spaces() const;

  std::shared_ptr<const SentencePieceModel> model_;  // null: bytes
};

/// Encodes with a memory of the words it has seen, of bounded size. One a thread.
class Encoder {
 public:
  explicit Encoder(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}

  /// Appends the ids of a text, those that Tokenizer::encode() returns.
  void encode(std::string_view text, std::vector<int64_t>& ids, Part part = Part::first);
  [[nodiscard]] const Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  void encode_segments(const SentencePieceModel& model, std::string_view text, std::vector<int64_t>& ids);

  Tokenizer tokenizer_;
  std::unordered_map<std::string, std::vector<int64_t>, Hash, std::equal_to<>> known_;  // short segments
};

}  // namespace ratel
