#include "cli/describe.h"

#include <algorithm>
#include <filesystem>

#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "io/file.h"
#include "io/metrics_file.h"
#include "io/pth.h"
#include "io/report.h"
#include "io/sharded_safetensors.h"
#include "io/token_file.h"
#include "models/description.h"
#include "models/tokenizer_file.h"
#include "text/byte_tokenizer.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"
#include "train/validation.h"

namespace ratel::cli {
namespace {

namespace fs = std::filesystem;
using io::Json;

constexpr int64_t kContext = 4096;  // tokens for which KV caches are stated

int64_t bytes_of(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

Json start_of(std::string_view kind, const std::string& path) { return Json::object({{"kind", kind}, {"path", path}}); }

/// All members of `more` after those of `object`.
void join(Json& object, const Json& more) {
  for (const auto& [key, value] : more.as_object()) object.set(key, value);
}

Json tensors_of(const std::vector<io::SafetensorsEntry>& entries) {
  Json tensors = Json::array();
  for (const io::SafetensorsEntry& entry : entries)
    tensors.push_back(Json::object({{"name", entry.name},
                                    {"dtype", entry.is_half ? "f16" : name_of(entry.dtype)},
                                    {"shape", Json::array_of(entry.shape.dims())}}));
  return tensors;
}

int64_t elements_of(const std::vector<io::SafetensorsEntry>& entries) {
  int64_t sum = 0;
  for (const io::SafetensorsEntry& entry : entries) sum += entry.shape.numel();
  return sum;
}

Json describe_safetensors(const std::string& path) {
  const auto file = io::SafetensorsFile::open(path);
  Json result = start_of("safetensors", path);
  result.set("bytes", bytes_of(path));
  result.set("elements", elements_of(file.entries()));
  Json metadata = Json::object();
  for (const auto& [key, value] : file.metadata()) metadata.set(key, value);
  result.set("metadata", std::move(metadata));
  result.set("tensors", tensors_of(file.entries()));
  return result;
}

/// Bytes of a KV cache at some dilations, so that D can be seen.
Json cache_table(const RatPlusConfig& config, DType dtype) {
  Json table = Json::array();
  for (const int64_t dilation : {1, 4, 16, 64})
    table.push_back(
        Json::object({{"pattern", concat_text("D=", dilation)},
                      {"bytes", kv_cache_bytes(config, ModelPattern::uniform({dilation, 0, 0}), kContext, dtype)}}));
  return table;
}

Json describe_model(const std::string& folder) {
  const std::string config_file = io::path_inside(folder, "config.json");
  const Json document = io::read_json_file(config_file);
  const io::JsonCursor cursor(document, config_file);
  const RatPlusConfig config = rat_plus_config_from_json(cursor["model"]);
  static_cast<void>(read_tokenizer(cursor["tokenizer"], folder));  // a damaged one is no model
  const auto weights = io::ShardedSafetensors::open_folder(folder);
  const auto entries = weights.entries();
  if (elements_of(entries) != config.parameter_count())
    fail_input(weights.path(), "expected ", config.parameter_count(), " parameters, found ", elements_of(entries));
  const auto dtype = entries.front().dtype;
  Json result = start_of("model", folder);
  join(result, document);
  if (const auto adapted = cursor.find("adapted_pattern"))
    result.set("pattern", concat_text(model_pattern_from_json(*adapted)));
  result.set("parameters", config.parameter_count());
  int64_t bytes = 0;
  for (const io::SafetensorsFile& file : weights.files()) bytes += bytes_of(file.path());
  result.set("bytes", bytes);
  result.set("files", weights.files().size());
  result.set("kv_cache_context", kContext);
  result.set("kv_cache", cache_table(config, dtype));
  result.set("tensors", tensors_of(entries));
  return result;
}

Json describe_checkpoint(const std::string& folder) {
  train::verify_checkpoint(folder);
  const train::CheckpointState state = train::read_checkpoint_state(folder);
  Json result = start_of("checkpoint", folder);
  result.set("step", state.progress.step);
  result.set("steps", state.config.train.steps);
  result.set("samples", state.progress.samples);
  result.set("tokens_seen", state.progress.tokens);
  result.set("seconds", state.progress.seconds);
  result.set("data_tokens", state.data.tokens);
  result.set("data_fingerprint", state.data.fingerprint);
  const Json model = describe_model(folder);
  for (const auto& [key, value] : model.as_object())
    if (result.find(key) == nullptr) result.set(key, value);
  return result;
}

Json describe_metrics(const std::string& path) {
  const std::vector<Json> rows = io::read_metrics(path);
  Json result = start_of("metrics", path);
  result.set("rows", rows.size());
  if (!rows.empty()) {
    result.set("first", rows.front());
    result.set("last", rows.back());
  }
  return result;
}

/// The last row that has a column; null where none has.
const Json* last_with(const std::vector<Json>& rows, std::string_view column) {
  for (auto row = rows.rbegin(); row != rows.rend(); ++row)
    if (row->find(column) != nullptr) return &*row;
  return nullptr;
}

Json describe_run(const std::string& folder) {
  const auto config = train::load_config(train::config_path(folder), {});
  Json result = start_of("run", folder);
  result.set("steps", config.train.steps);
  result.set("pattern", concat_text(config.pattern()));
  if (io::path_exists(train::metrics_path(folder))) {
    const auto rows = io::read_metrics(train::metrics_path(folder));
    if (const Json* last = last_with(rows, "loss")) result.set("last", *last);
    if (const Json* last = last_with(rows, "validation_loss")) result.set("last_validation", *last);
  }
  const auto newest = train::newest_checkpoint(folder, [](const std::string& what) { note("ratel: ", what); });
  result.set("newest_checkpoint", newest ? Json(newest->path) : Json());
  if (const auto best = train::best_checkpoint(folder)) result.set("best_checkpoint", best->path);
  Json checkpoints = Json::array();
  for (const auto& entry : train::list_checkpoints(folder))
    checkpoints.push_back(Json::object({{"step", entry.step}, {"path", entry.path}}));
  result.set("checkpoints", std::move(checkpoints));
  result.set("config", train::to_json(config));
  return result;
}

/// What the sidecar of a token file says beyond the file itself.
void add_sidecar(Json& result, const io::TokenSidecar& sidecar) {
  result.set("eos", sidecar.eos < 0 ? Json() : Json(sidecar.eos));
  if (sidecar.documents) result.set("documents", *sidecar.documents);
  if (sidecar.text_bytes) result.set("text_bytes", *sidecar.text_bytes);
  if (!sidecar.tokenizer) return;
  Json tokenizer = Json::object({{"kind", sidecar.tokenizer->kind}});
  if (!sidecar.tokenizer->name.empty()) tokenizer.set("name", sidecar.tokenizer->name);
  if (!sidecar.tokenizer->hash.empty()) tokenizer.set("hash", sidecar.tokenizer->hash);
  result.set("tokenizer", std::move(tokenizer));
}

Json describe_tokens(const std::string& path, std::optional<int64_t> vocab_size) {
  constexpr int64_t kUnknownVocabulary = 65536;  // of a file that does not tell: ids of 2 bytes
  const bool tells = io::read_token_sidecar(path).has_value() || vocab_size.has_value();
  auto file = [&] {
    // A header of llm.c tells too, and only the file knows whether it has one.
    if (tells) return io::TokenFile::open(path, vocab_size);
    auto flat = io::TokenFile::open(path, kUnknownVocabulary);
    return flat.layout() == "flat" ? flat : io::TokenFile::open(path);
  }();
  constexpr int64_t kChunk = 1 << 16;
  std::vector<int64_t> ids(kChunk);
  int64_t largest = 0, ends = 0;
  for (int64_t at = 0; at < file.size() && !stop_requested(); at += kChunk) {
    const int64_t count = std::min(kChunk, file.size() - at);
    file.read(at, count, ids.data());
    for (int64_t i = 0; i < count; ++i) {
      largest = std::max(largest, ids[static_cast<size_t>(i)]);
      ends += ids[static_cast<size_t>(i)] == ByteTokenizer::kEos;
    }
  }
  const auto& sidecar = file.sidecar();
  const bool has_bytes = sidecar && sidecar->tokenizer ? sidecar->tokenizer->kind == "bytes"
                                                       : !sidecar && largest < ByteTokenizer::kVocabSize;
  Json result = start_of("tokens", path);
  result.set("tokens", file.size());
  result.set("id_bytes", static_cast<int64_t>(file.width()));
  result.set("layout", file.layout());
  if (sidecar || vocab_size) result.set("vocab_size", file.vocab_size());
  result.set("largest_id", largest);
  if (sidecar) add_sidecar(result, *sidecar);
  if (!has_bytes) return result;
  if (!sidecar) result.set("documents", ends);
  ids.resize(static_cast<size_t>(std::min<int64_t>(file.size(), 64)));
  file.read(0, static_cast<int64_t>(ids.size()), ids.data());
  result.set("begins", io::one_line(ByteTokenizer::decode(ids), 64));
  return result;
}

/// Texts of a file that anybody may have made, fit for a terminal.
Json printable(const Json& value) {
  if (value.is_string()) return io::one_line(value.as_string());
  if (value.is_array()) {
    Json::Array items;
    for (const Json& item : value.as_array()) items.push_back(printable(item));
    return Json::array(std::move(items));
  }
  if (!value.is_object()) return value;
  Json::Object members;
  for (const auto& [key, item] : value.as_object()) members.emplace_back(io::one_line(key), printable(item));
  return Json::object(std::move(members));
}

Json describe_pth(const std::string& path) {
  const auto file = io::PthFile::open(path);
  Json result = start_of("pytorch", path);
  result.set("bytes", bytes_of(path));
  result.set("state_dict", file.member().empty() ? Json("the whole") : Json(file.member()));
  int64_t elements = 0;
  Json tensors = Json::array();
  for (const io::PthTensor& tensor : file.tensors()) {
    elements += tensor.layout.shape.numel();
    tensors.push_back(Json::object({{"name", tensor.name},
                                    {"dtype", tensor.is_half ? "f16" : name_of(tensor.dtype)},
                                    {"shape", Json::array_of(tensor.layout.shape.dims())}}));
  }
  result.set("elements", elements);
  result.set("others", printable(file.others()));
  result.set("tensors", std::move(tensors));
  return result;
}

Json describe_folder(const std::string& path) {
  const auto has = [&](const char* name) { return io::path_exists(path + "/" + name); };
  if (has("MANIFEST.json") || has("state.json")) return describe_checkpoint(path);
  if (io::path_exists(train::config_path(path)) || has("checkpoints")) return describe_run(path);
  if (has("config.json") || has("model.safetensors") || has("model.safetensors.index.json"))
    return describe_model(path);
  fail_input(path, "expected a model, run or checkpoint folder, found none of config.json, config.toml, MANIFEST.json");
}

/// True where the file begins as a safetensors file does: a length, then '{'.
bool looks_like_safetensors(const std::string& path) {
  const auto file = io::MappedFile::open(path);
  const auto text = file.text();
  return text.size() > 9 && text[8] == '{' && text[7] == '\0' && text[6] == '\0';
}

}  // namespace

Json describe(const std::string& path, std::optional<int64_t> vocab_size) {
  if (train::run_of_best(path)) return describe(model_dir(path), vocab_size);
  if (!io::path_exists(path)) fail_input(path, "no such file or folder");
  if (io::is_folder(path)) {
    const fs::path clean = fs::path(path).lexically_normal();
    return describe_folder(clean.has_filename() ? clean.string() : clean.parent_path().string());
  }
  const std::string extension = fs::path(path).extension();
  if (extension == ".safetensors" || looks_like_safetensors(path)) return describe_safetensors(path);
  // They have many endings, of which one, as in pytorch_model.bin, is that of tokens.
  if (io::PthFile::looks_like_one(path)) return describe_pth(path);
  if (extension == ".bin") return describe_tokens(path, vocab_size);
  if (extension == ".model") return describe_tokenizer(path);
  if (extension == ".jsonl") return describe_metrics(path);
  if (extension == ".toml") {
    Json result = start_of("config", path);
    join(result, train::to_json(train::load_config(path, {})));
    return result;
  }
  if (extension == ".json") {
    Json result = start_of("json", path);
    result.set("content", io::read_json_file(path));
    return result;
  }
  fail_input(path,
             "expected a .safetensors, .pth, .bin, .model, .jsonl, .json or .toml file, a model, run or checkpoint "
             "folder");
}

}  // namespace ratel::cli
