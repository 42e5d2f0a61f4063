#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ratel {

/// What a SentencePiece .model file says, as far as ratel must know it: a protobuf message ModelProto with its pieces,
/// in the order of their ids, and how text is normalised and cut. Defaults are those of the format.
/// Source: sentencepiece_model.proto and the encoding of protobuf,
/// https://github.com/google/sentencepiece, https://protobuf.dev/programming-guides/encoding
struct SentencePieceFile {
  enum class PieceType { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  struct Piece {
    std::string text;
    PieceType type = PieceType::normal;
  };
  enum class Algorithm { unigram = 1, bpe = 2, word = 3, character = 4 };

  std::vector<Piece> pieces;
  Algorithm algorithm = Algorithm::unigram;
  bool byte_fallback = false;                  ///< characters without a piece become bytes, not `<unk>`
  bool whitespace_suffix = false;              ///< the space of a word is at its end
  std::string unk_surface = " \xe2\x81\x87 ";  ///< what `<unk>` is decoded to
  bool has_charsmap = false;                   ///< characters are replaced by others, NFKC for example
  bool add_dummy_prefix = true;                ///< a space is put before the text
  bool remove_extra_whitespaces = true;        ///< at both ends, and of several in a row
  bool escape_whitespaces = true;              ///< spaces are U+2581 in pieces
  bool has_denormalizer = false;
};

/// Reads the bytes of a .model file; `path` is for errors. Walks over every field before anything else trusts the file.
/// Throws Error(input) "path:offset: ..." for a file that is not such a message or ends in the middle of it; that lacks
/// its pieces, trainer_spec or normalizer_spec; whose pieces are empty, no UTF-8, twice there, or not those that its
/// settings need; and above the limits of io/limits.h.
SentencePieceFile read_sentencepiece(std::string_view bytes, std::string_view path);

}  // namespace ratel
