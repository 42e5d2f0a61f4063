#pragma once

#include <optional>
#include <string>

#include "io/token_sidecar.h"
#include "text/tokenizer.h"

namespace ratel {

/// What a sidecar says of a tokenizer.
io::TokenizerIdentity identity_of(const Tokenizer& tokenizer);

/// "bytes", or the name of a .model file and the beginning of its hash: what messages call one beside another.
std::string described(const io::TokenizerIdentity& identity);

/// Throws Error(input) with both where the sidecar of a token file names another tokenizer than the one its ids are to
/// be read by, or documents that end in another token than `eos`. Where a side is not known, or there is no sidecar,
/// all is well.
///   eos  the end-of-text token of who reads the file; -1: there is none
void check_origin(const std::string& token_file, const std::optional<Tokenizer>& tokenizer, int64_t eos);

}  // namespace ratel
