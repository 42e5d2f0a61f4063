#include "text/token_origin.h"

#include <filesystem>

#include "core/error.h"
#include "io/report.h"

namespace ratel {
namespace {

std::string described(const io::TokenizerIdentity& identity) {
  std::string text = identity.kind;
  if (!identity.name.empty()) text += " " + identity.name;
  if (!identity.hash.empty()) text += " (" + identity.hash.substr(0, 12) + ")";
  return io::one_line(text);
}

}  // namespace

io::TokenizerIdentity identity_of(const Tokenizer& tokenizer) {
  const bool is_file = tokenizer.kind() == TokenizerKind::sentencepiece;
  return {std::string(name_in(names_of(tokenizer.kind()), tokenizer.kind())), tokenizer.hash(),
          is_file ? std::filesystem::path(tokenizer.name()).filename() : ""};
}

void check_origin(const std::string& token_file, const std::optional<Tokenizer>& tokenizer, int64_t eos) {
  const auto sidecar = io::read_token_sidecar(token_file);
  if (!sidecar) return;
  if (tokenizer && sidecar->tokenizer) {
    const io::TokenizerIdentity expected = identity_of(*tokenizer), &found = *sidecar->tokenizer;
    const bool hashes_differ = !expected.hash.empty() && !found.hash.empty() && expected.hash != found.hash;
    if (expected.kind != found.kind || hashes_differ)
      fail_input(token_file, "tokens of another tokenizer; expected ", described(expected), ", found ",
                 described(found), " in ", io::token_sidecar_path(token_file));
  }
  if (eos >= 0 && sidecar->eos >= 0 && eos != sidecar->eos)
    fail_input(token_file, "documents end in another token; expected ", eos, ", found ", sidecar->eos, " in ",
               io::token_sidecar_path(token_file));
}

}  // namespace ratel
