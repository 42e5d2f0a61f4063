#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "io/file.h"
#include "io/json.h"
#include "text/tokenizer.h"

namespace ratel {

// What a model folder keeps of its tokenizer. In config.json "tokenizer" is "bytes", "none", or
//   {"kind": "sentencepiece", "sha256": of tokenizer.model}
// and then tokenizer.model beside it is the SentencePiece model, byte for byte.

inline constexpr std::string_view kTokenizerFile = "tokenizer.model";

io::Json tokenizer_json(const std::optional<Tokenizer>& tokenizer);
/// The tokenizer.model of a folder, prepared (io/file.h), where there is to be one. Throws Error(disk).
std::unique_ptr<io::AtomicFile> prepare_tokenizer(const std::string& folder, const std::optional<Tokenizer>& tokenizer);

/// The tokenizer that a config.json names. Throws Error(input): for another value, a tokenizer.model that is missing,
/// damaged, a link that leads out of the folder, or not the one whose hash is recorded.
std::optional<Tokenizer> read_tokenizer(const io::JsonCursor& json, const std::string& folder);
/// The tokenizer of a model folder, without its weights. Throws Error(input) as above.
std::optional<Tokenizer> load_tokenizer(const std::string& folder);

/// The tokenizer of a name as people give it: Tokenizer::named, and nothing for "none". Throws as that does.
std::optional<Tokenizer> tokenizer_named(const std::string& name);

/// "bytes", "none", or the path of a .model file and the beginning of its hash: for messages about two of them.
std::string described(const std::optional<Tokenizer>& tokenizer);

}  // namespace ratel
