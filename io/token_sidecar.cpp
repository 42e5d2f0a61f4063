#include "io/token_sidecar.h"

#include <array>
#include <utility>

#include "core/enum_names.h"
#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "io/json_choice.h"
#include "io/limits.h"
#include "io/report.h"

namespace ratel::io {
namespace {

constexpr int64_t kVersion = 1;

int64_t between(const JsonCursor& value, int64_t least, int64_t most) {
  const int64_t number = value.as_int();
  if (number < least || number > most)
    fail_input(value.where(), "expected an integer from ", least, " to ", most, ", found ", number);
  return number;
}

std::string text_of(const std::optional<JsonCursor>& value) { return value ? value->as_string() : std::string(); }

constexpr std::array<std::pair<TokenWidth, std::string_view>, 2> kWidths{
    {{TokenWidth::two, "uint16"}, {TokenWidth::four, "uint32"}}};

}  // namespace

std::string_view name_of(TokenWidth width) { return name_in<TokenWidth>(kWidths, width); }

std::string token_sidecar_path(const std::string& token_file) { return token_file + ".json"; }

std::string to_text(const TokenSidecar& sidecar) {
  Json json = Json::object({{"format_version", kVersion},
                            {"dtype", name_of(sidecar.width)},
                            {"vocab_size", sidecar.vocab_size},
                            {"eos", sidecar.eos < 0 ? Json() : Json(sidecar.eos)},
                            {"tokens", sidecar.tokens}});
  if (sidecar.documents) json.set("documents", *sidecar.documents);
  if (sidecar.text_bytes) json.set("text_bytes", *sidecar.text_bytes);
  if (const auto& tokenizer = sidecar.tokenizer) {
    Json identity = Json::object({{"kind", tokenizer->kind}});
    if (!tokenizer->hash.empty()) identity.set("hash", tokenizer->hash);
    if (!tokenizer->name.empty()) identity.set("name", tokenizer->name);
    json.set("tokenizer", std::move(identity));
  }
  if (!sidecar.fingerprint.empty()) json.set("fingerprint", sidecar.fingerprint);
  return json.dump(2) + "\n";
}

TokenSidecar parse_token_sidecar(std::string_view text, std::string_view path) {
  const Json document = parse_json(text, path);
  const JsonCursor json(document, path);
  if (const int64_t version = json["format_version"].as_int(); version != kVersion)
    fail_input(json["format_version"].where(), "expected ", kVersion, ", found ", version);
  TokenSidecar result;
  result.width = as_choice<TokenWidth>(json["dtype"], kWidths);
  result.vocab_size = between(json["vocab_size"], 1, int64_t{1} << 8 * static_cast<size_t>(result.width));
  result.tokens = between(json["tokens"], 1, INT64_MAX / static_cast<int64_t>(result.width));
  if (const auto eos = json.find("eos")) result.eos = between(*eos, 0, result.vocab_size - 1);
  if (const auto documents = json.find("documents")) result.documents = between(*documents, 0, result.tokens);
  if (const auto bytes = json.find("text_bytes")) result.text_bytes = between(*bytes, 0, INT64_MAX);
  if (const auto tokenizer = json.find("tokenizer"))
    result.tokenizer = {(*tokenizer)["kind"].as_string(), text_of(tokenizer->find("hash")),
                        text_of(tokenizer->find("name"))};
  result.fingerprint = text_of(json.find("fingerprint"));
  return result;
}

std::optional<TokenSidecar> read_token_sidecar(const std::string& token_file) {
  const std::string path = token_sidecar_path(token_file);
  if (!path_exists(path)) return {};
  return parse_token_sidecar(read_text_file(path, kTokenSidecarBytes), path);
}

}  // namespace ratel::io
