#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ratel::io {

/// The bytes of a token id on disk.
enum class TokenWidth : size_t { two = 2, four = 4 };
/// Two bytes up to a vocabulary of 65536, four above.
constexpr TokenWidth token_width(int64_t vocab_size) { return vocab_size > 65536 ? TokenWidth::four : TokenWidth::two; }
/// "uint16" or "uint32": the names of the sidecar.
std::string_view name_of(TokenWidth width);

/// What made the tokens.
struct TokenizerIdentity {
  std::string kind;  ///< "bytes", "sentencepiece"
  std::string hash;  ///< tells one vocabulary from another; empty: not known
  std::string name;  ///< of its file, for people; may be empty
  friend bool operator==(const TokenizerIdentity&, const TokenizerIdentity&) = default;
};

/// The description of a token file, in a JSON file of its name and ".json" beside it (docs/formats.md).
struct TokenSidecar {
  TokenWidth width = TokenWidth::two;
  int64_t vocab_size = 0;
  int64_t tokens = 0;
  int64_t eos = -1;  ///< the token that ends every document; -1: there is none, or nobody knows
  std::optional<int64_t> documents = {};
  std::optional<int64_t> text_bytes = {};  ///< of UTF-8 that were tokenized
  std::optional<TokenizerIdentity> tokenizer = {};
  std::string fingerprint = {};  ///< TokenFile::fingerprint(); empty: not known
  friend bool operator==(const TokenSidecar&, const TokenSidecar&) = default;
};

std::string token_sidecar_path(const std::string& token_file);
/// The text of the file.
std::string to_text(const TokenSidecar& sidecar);
/// Throws Error(input) "path: member: what" or "path:offset: what" for anything that to_text() would not write, members
/// that it does not know aside.
TokenSidecar parse_token_sidecar(std::string_view text, std::string_view path);
/// The sidecar of a token file; nothing where there is none. Throws Error(input).
std::optional<TokenSidecar> read_token_sidecar(const std::string& token_file);

}  // namespace ratel::io
