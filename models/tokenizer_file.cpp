#include "models/tokenizer_file.h"

#include <array>

#include "core/error.h"
#include "io/report.h"
#include "models/description.h"
#include "text/token_origin.h"

namespace ratel {
namespace {

constexpr std::array<std::string_view, 2> kMembers{"kind", "sha256"};
constexpr std::string_view kSentencePiece = "sentencepiece", kBytes = "bytes", kNone = "none";

}  // namespace

io::Json tokenizer_json(const std::optional<Tokenizer>& tokenizer) {
  if (!tokenizer) return kNone;
  if (tokenizer->kind() == TokenizerKind::bytes) return kBytes;
  return io::Json::object({{"kind", kSentencePiece}, {"sha256", tokenizer->hash()}});
}

std::unique_ptr<io::AtomicFile> prepare_tokenizer(const std::string& folder,
                                                  const std::optional<Tokenizer>& tokenizer) {
  if (!tokenizer || tokenizer->kind() != TokenizerKind::sentencepiece) return nullptr;
  auto file = std::make_unique<io::AtomicFile>(concat_text(folder, '/', kTokenizerFile));
  file->write(tokenizer->file_bytes());
  file->prepare();
  return file;
}

std::optional<Tokenizer> read_tokenizer(const io::JsonCursor& json, const std::string& folder) {
  if (json.value().is_string()) {
    const std::string& name = json.as_string();
    if (name == kNone) return {};
    if (name == kBytes) return Tokenizer::bytes();
    fail_input(json.where(), R"(expected "bytes", "none" or an object, found )", io::in_quotes(name));
  }
  check_members(json, kMembers);
  if (const std::string& kind = json["kind"].as_string(); kind != kSentencePiece)
    fail_input(json["kind"].where(), "expected \"", kSentencePiece, "\", found ", io::in_quotes(kind));
  const std::string& expected = json["sha256"].as_string();
  Tokenizer tokenizer = Tokenizer::open(io::path_inside(folder, kTokenizerFile));
  if (tokenizer.hash() != expected)
    fail_input(tokenizer.name(), "expected SHA-256 ", expected, " as in config.json, found ", tokenizer.hash());
  return tokenizer;
}

std::optional<Tokenizer> load_tokenizer(const std::string& folder) {
  const std::string path = io::path_inside(folder, "config.json");
  const io::Json document = io::read_json_file(path);
  return read_tokenizer(io::JsonCursor(document, path)["tokenizer"], folder);
}

std::optional<Tokenizer> tokenizer_named(const std::string& name) {
  if (name == kNone) return {};
  return Tokenizer::named(name);
}

std::string described(const std::optional<Tokenizer>& tokenizer) {
  if (!tokenizer) return std::string(kNone);
  io::TokenizerIdentity identity = identity_of(*tokenizer);
  identity.name = tokenizer->name();  // where it is, which the names of files do not tell here
  return described(identity);
}

}  // namespace ratel
