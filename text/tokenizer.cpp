#include "text/tokenizer.h"

#include <array>
#include <utility>

#include "core/error.h"
#include "io/file.h"
#include "io/limits.h"
#include "text/byte_tokenizer.h"
#include "text/sentencepiece_model.h"
#include "text/streaming_decoder.h"

namespace ratel {
namespace {

constexpr std::pair<TokenizerKind, std::string_view> kKinds[] = {
    {TokenizerKind::bytes, "bytes"}, {TokenizerKind::sentencepiece, "sentencepiece"}, {TokenizerKind::none, "none"}};

// About 20 MB: the words of a language that are not rare.
constexpr size_t kKnownSegments = size_t{1} << 17, kKnownBytes = 40;

constexpr std::array<char, 256> kBytes = [] {
  std::array<char, 256> bytes{};
  for (size_t byte = 0; byte < 256; ++byte) bytes[byte] = static_cast<char>(byte);
  return bytes;
}();

}  // namespace

EnumNames<TokenizerKind> names_of(TokenizerKind) { return kKinds; }

Tokenizer Tokenizer::open(const std::string& path) {
  return from_model(io::read_text_file(path, io::kTokenizerBytes), path);
}

Tokenizer Tokenizer::named(const std::string& name) {
  check(name == "bytes" || name.ends_with(".model"), "expected bytes or the path of a .model file, found '", name, "'");
  return name == "bytes" ? bytes() : open(name);
}

Tokenizer Tokenizer::from_model(std::string bytes, const std::string& path) {
  Tokenizer tokenizer;
  tokenizer.model_ = std::make_shared<const SentencePieceModel>(std::move(bytes), path);
  return tokenizer;
}

std::string Tokenizer::name() const { return model_ ? model_->path() : "bytes"; }
int64_t Tokenizer::vocab_size() const {
  return model_ ? static_cast<int64_t>(model_->file().pieces.size()) : ByteTokenizer::kVocabSize;
}
std::optional<int64_t> Tokenizer::eos() const { return model_ ? model_->eos() : ByteTokenizer::kEos; }
std::string Tokenizer::hash() const { return model_ ? model_->hash() : ""; }
std::string_view Tokenizer::file_bytes() const { return model_ ? std::string_view(model_->bytes()) : ""; }
bool Tokenizer::lossless() const { return !model_ || model_->is_lossless(); }
bool Tokenizer::loses_space(int64_t id) const { return model_ && model_->loses_space(id); }
bool Tokenizer::removes_spaces() const { return model_ && model_->file().remove_extra_whitespaces; }

std::vector<int64_t> Tokenizer::encode(std::string_view text, Part part) const {
  std::vector<int64_t> ids;
  Encoder(*this).encode(text, ids, part);
  return ids;
}

std::string Tokenizer::decode(std::span<const int64_t> ids) const {
  StreamingDecoder decoder(*this);
  std::string text;
  for (const int64_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

std::string_view Tokenizer::text_of(int64_t id) const {
  check(id >= 0 && id < vocab_size(), name(), ": expected an id between 0 and ", vocab_size() - 1, ", found ", id);
  if (model_) return model_->text_of(id);
  return id == ByteTokenizer::kEos ? "" : std::string_view(&kBytes[static_cast<size_t>(id)], 1);
}

size_t Tokenizer::last_cut(std::string_view text) const {
  if (!model_) return text.size() > 1 ? text.size() - 1 : 0;
  return model_->is_lossless() ? model_->boundaries().last_in(text) : 0;
}

void Encoder::encode(std::string_view text, std::vector<int64_t>& ids, Part part) {
  if (text.empty()) return;
  const SentencePieceModel* model = tokenizer_.model();
  if (model == nullptr) {
    ids.reserve(ids.size() + text.size());
    for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  } else if (!model->is_lossless()) {
    check(part == Part::first, model->path(), ": documents cannot be cut for this tokenizer, which is not lossless");
    model->encode(text, ids);
  } else if (part == Part::first && model->file().add_dummy_prefix) {
    encode_segments(*model, ' ' + std::string(text), ids);
  } else {
    encode_segments(*model, text, ids);
  }
}

void Encoder::encode_segments(const SentencePieceModel& model, std::string_view text, std::vector<int64_t>& ids) {
  for (size_t at = 0; at < text.size();) {
    const Boundaries::Segment segment = model.boundaries().segment_at(text, at);
    const std::string_view said = text.substr(at, segment.size);
    at += segment.size;
    if (segment.spelled) {
      model.encode_bytes(said, ids);
      continue;
    }
    if (const auto known = known_.find(said); known != known_.end()) {
      ids.insert(ids.end(), known->second.begin(), known->second.end());
      continue;
    }
    const size_t before = ids.size();
    model.encode(said, ids);
    if (said.size() > kKnownBytes) continue;
    if (known_.size() >= kKnownSegments) known_.clear();
    known_.emplace(said, std::vector(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end()));
  }
}

}  // namespace ratel
