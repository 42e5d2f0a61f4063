#include "text/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "io/hash.h"

namespace ratel {
namespace {

using File = SentencePieceFile;
using PieceType = File::PieceType;

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, a space in pieces

std::string with_spaces(std::string_view piece) {
  std::string text;
  for (size_t at = 0; at < piece.size();) {
    const bool is_space = piece.substr(at).starts_with(kSpace);
    text += is_space ? ' ' : piece[at];
    at += is_space ? kSpace.size() : 1;
  }
  return text;
}

bool is_in_texts(const File::Piece& piece) {
  return piece.type == PieceType::normal || piece.type == PieceType::user_defined || piece.type == PieceType::unused;
}

/// Spaces have a piece, characters without one become bytes, and nothing is normalised.
bool is_lossless(const File& file) {
  const bool has_space = std::ranges::any_of(
      file.pieces, [](const File::Piece& piece) { return piece.type == PieceType::normal && piece.text == kSpace; });
  const bool by_pieces = file.algorithm == File::Algorithm::bpe || file.algorithm == File::Algorithm::unigram;
  return by_pieces && has_space && file.byte_fallback && !file.has_charsmap && !file.remove_extra_whitespaces &&
         file.escape_whitespaces && !file.whitespace_suffix;
}

}  // namespace

struct SentencePieceModel::Library {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel(std::string bytes, std::string path)
    : path_(std::move(path)),
      bytes_(std::move(bytes)),
      hash_(io::sha256_hex(std::as_bytes(std::span(bytes_)))),
      file_(read_sentencepiece(bytes_, path_)),
      lossless_(ratel::is_lossless(file_)),
      // The sums of scores that choose the pieces of a unigram model are of whole texts.
      boundaries_(file_.algorithm == File::Algorithm::bpe ? Boundaries::Merging::of_pieces
                                                          : Boundaries::Merging::of_all) {
  if (file_.has_denormalizer) fail_input(path_, "expected a tokenizer without a denormalizer, found one with");
  auto library = std::make_unique<Library>();
  // A later field of a protobuf overrides an earlier one: normalizer_spec {add_dummy_prefix: false}. The space before
  // a lossless model's text is ours to put, so that segments can be encoded on their own.
  const std::string_view no_prefix("\x1a\x02\x18\x00", 4);
  std::string problem;
  try {
    const auto status =
        library->processor.LoadFromSerializedProto(lossless_ ? bytes_ + std::string(no_prefix) : bytes_);
    if (!status.ok()) problem = status.ToString();
  } catch (const std::exception& error) {
    problem = error.what();
  }
  if (!problem.empty()) fail_input(path_, "libsentencepiece does not take this model: ", problem);
  if (const int eos = library->processor.eos_id(); eos >= 0) eos_ = eos;
  library_ = std::move(library);

  const bool strips = file_.add_dummy_prefix || file_.remove_extra_whitespaces;
  byte_ids_.assign(256, -1);
  for (const File::Piece& piece : file_.pieces) {
    const auto id = static_cast<int64_t>(texts_.size());
    loses_space_.push_back(strips && is_in_texts(piece) && piece.text.starts_with(kSpace));
    if (is_in_texts(piece)) boundaries_.add(texts_.emplace_back(with_spaces(piece.text)));
    if (piece.type == PieceType::control) texts_.emplace_back();
    if (piece.type == PieceType::unknown) texts_.push_back(file_.unk_surface);
    if (piece.type == PieceType::byte) {  // "<0x0A>", as read_sentencepiece has checked
      const auto digit = [](char c) { return c < 'A' ? c - '0' : c - 'A' + 10; };
      const int byte = digit(piece.text[3]) * 16 + digit(piece.text[4]);
      byte_ids_[static_cast<size_t>(byte)] = id;
      texts_.emplace_back(1, static_cast<char>(static_cast<unsigned char>(byte)));
    }
  }
}

SentencePieceModel::~SentencePieceModel() = default;

void SentencePieceModel::encode(std::string_view text, std::vector<int64_t>& ids) const {
  std::vector<int> found;
  const auto status = library_->processor.Encode(text, &found);
  check(status.ok(), path_, ": libsentencepiece does not encode a text: ", status.ToString());
  ids.insert(ids.end(), found.begin(), found.end());
}

void SentencePieceModel::encode_bytes(std::string_view bytes, std::vector<int64_t>& ids) const {
  for (const char byte : bytes) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
}

}  // namespace ratel
