#include "text/tokenizer.h"

#include <array>
#include <utility>

#include "text/byte_tokenizer.h"

namespace ratel {
namespace {

constexpr std::pair<TokenizerKind, std::string_view> kKinds[] = {
    {TokenizerKind::bytes, "bytes"}, {TokenizerKind::sentencepiece, "sentencepiece"}, {TokenizerKind::none, "none"}};

}  // namespace

EnumNames<TokenizerKind> names_of(TokenizerKind) { return kKinds; }

std::string Tokenizer::name() const { return "bytes"; }
int64_t Tokenizer::vocab_size() const { return ByteTokenizer::kVocabSize; }
std::optional<int64_t> Tokenizer::eos() const { return ByteTokenizer::kEos; }
std::string Tokenizer::hash() const { return {}; }
std::string_view Tokenizer::file_bytes() const { return {}; }

std::vector<int64_t> Tokenizer::encode(std::string_view text, Part part) const {
  std::vector<int64_t> ids;
  Encoder(*this).encode(text, ids, part);
  return ids;
}

std::string Tokenizer::decode(std::span<const int64_t> ids) const { return ByteTokenizer::decode(ids); }

size_t Tokenizer::last_cut(std::string_view text) const { return text.size() > 1 ? text.size() - 1 : 0; }

void Encoder::encode(std::string_view text, std::vector<int64_t>& ids, Part) {
  ids.reserve(ids.size() + text.size());
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
}

}  // namespace ratel
