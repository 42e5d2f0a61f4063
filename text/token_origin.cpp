#include "text/token_origin.h"

#include <filesystem>

#include "core/error.h"
#include "io/report.h"

namespace ratel {

constexpr size_t kMostNameBytes = 4096;  // of a path
std::string described(const io::TokenizerIdentity& identity) {
  std::string name = io::one_line(identity.name.empty() ? identity.kind : identity.name, kMostNameBytes);
  if (identity.hash.empty()) return name;
  return concat_text(name, " (SHA-256 ", io::one_line(identity.hash.substr(0, 16)), "...)");
}

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
