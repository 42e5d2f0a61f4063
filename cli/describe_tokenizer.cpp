#include <array>

#include "cli/describe.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"

namespace ratel::cli {
namespace {

using io::Json;

/// What happens to a text before it is cut into pieces.
Json normalization_of(const SentencePieceFile& file) {
  Json list = Json::array();
  if (file.has_charsmap) list.push_back("characters replaced");
  if (file.remove_extra_whitespaces) list.push_back("extra spaces removed");
  if (file.add_dummy_prefix) list.push_back(file.whitespace_suffix ? "a space put after it" : "a space put before it");
  return list;
}

std::string_view name_of(SentencePieceFile::Algorithm algorithm) {
  constexpr std::array<std::string_view, 5> kNames{"", "unigram", "bpe", "word", "char"};
  return kNames[static_cast<size_t>(algorithm)];
}

}  // namespace

Json describe_tokenizer(const std::string& path) {
  using Type = SentencePieceFile::PieceType;
  const Tokenizer tokenizer = Tokenizer::open(path);
  const SentencePieceFile& file = tokenizer.model()->file();
  Json result = Json::object({{"kind", "tokenizer"}, {"path", path}});
  result.set("format", "sentencepiece");
  result.set("bytes", tokenizer.file_bytes().size());
  result.set("sha256", tokenizer.hash());
  result.set("algorithm", name_of(file.algorithm));
  result.set("vocab_size", tokenizer.vocab_size());
  result.set("eos", tokenizer.eos() ? Json(*tokenizer.eos()) : Json());
  result.set("byte_fallback", file.byte_fallback);
  result.set("normalization", normalization_of(file));
  result.set("lossless", tokenizer.lossless());
  Json control = Json::array(), own = Json::array();
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    if (piece.type == Type::control || piece.type == Type::unknown) control.push_back(piece.text);
    if (piece.type == Type::user_defined) own.push_back(piece.text);
  }
  result.set("control_pieces", std::move(control));
  result.set("user_defined_pieces", std::move(own));
  return result;
}

}  // namespace ratel::cli
