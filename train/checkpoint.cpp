#include "train/checkpoint.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "autograd/gradient.h"
#include "core/text.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/safetensors.h"
#include "models/model_folder.h"
#include "models/tokenizer_file.h"

namespace ratel::train {
namespace {

namespace fs = std::filesystem;
using io::Json;

constexpr int64_t kFormatVersion = 1;
constexpr std::array<std::string_view, 4> kFiles{"config.json", "model.safetensors", "optimizer.safetensors",
                                                 "state.json"};

/// A folder that is not there before, nor at the end.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) { remove(); }
  ~TemporaryFolder() { remove(); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

 private:
  void remove() const {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  std::string path_;
};

uint64_t bytes_of(const std::vector<NamedTensor>& tensors) {
  uint64_t total = 0;
  for (const auto& [name, tensor] : tensors) total += static_cast<uint64_t>(tensor.numel()) * size_of(tensor.dtype());
  return total;
}

Json to_json(const DataIdentity& data) {
  return Json::object({{"fingerprint", data.fingerprint}, {"tokens", data.tokens}});
}
DataIdentity data_from_json(const io::JsonCursor& json) {
  return {json["fingerprint"].as_string(), json["tokens"].as_int()};
}

Json to_json(const CheckpointState& state) {
  const Progress& p = state.progress;
  Json json = Json::object({{"format_version", kFormatVersion},
                            {"step", p.step},
                            {"samples", p.samples},
                            {"epoch", state.epoch},
                            {"position", state.position},
                            {"tokens", p.tokens},
                            {"optimizer_steps", state.optimizer_steps},
                            {"skipped_updates", p.skipped_updates},
                            {"skipped_in_a_row", p.skipped_in_a_row},
                            {"seconds", p.seconds},
                            {"data", to_json(state.data)}});
  if (state.validation_data) json.set("validation_data", to_json(*state.validation_data));
  json.set("config", train::to_json(state.config));
  return json;
}

/// Of a file: read, not mapped, so that a disk that fails is an error.
struct Digest {
  uint64_t bytes = 0;
  std::string sha256;
};
Digest digest_of(const std::string& path) {
  Digest result;
  io::Sha256 hash;
  io::read_file(path, [&](std::span<const std::byte> piece) {
    result.bytes += piece.size();
    hash.update(piece);
  });
  result.sha256 = hash.hex();
  return result;
}

void write_manifest(const std::string& folder, const std::vector<std::string_view>& names) {
  Json files = Json::object();
  for (const std::string_view name : names) {
    const Digest digest = digest_of(io::path_inside(folder, name));
    files.append(std::string(name), Json::object({{"size", digest.bytes}, {"sha256", digest.sha256}}));
  }
  const Json manifest = Json::object({{"format_version", kFormatVersion}, {"files", std::move(files)}});
  io::write_file_atomically(folder + "/MANIFEST.json", manifest.dump(2) + '\n');
}

}  // namespace

void require_space_for_checkpoint(const std::string& run, const nn::ParamStore& parameters,
                                  const Optimizer& optimizer) {
  io::require_free_space(checkpoints_path(run), bytes_of(parameters.parameters()) + bytes_of(optimizer.state()),
                         "a checkpoint needs", "make room, or keep fewer with --train.keep_checkpoints");
}

namespace {

enum class There { nothing, damaged, other, same };
/// What is at the place of a checkpoint of this state, which may differ in the seconds that it took.
There what_is_at(const std::string& path, const CheckpointState& state) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return There::nothing;  // a link that leads nowhere is there, too
  try {
    verify_checkpoint(path);
  } catch (const Error& damage) {
    if (damage.kind() == ErrorKind::memory) throw;  // which says nothing of the checkpoint
    return There::damaged;
  }
  try {
    CheckpointState there = read_checkpoint_state(path);
    there.progress.seconds = state.progress.seconds;
    return to_json(there).dump() == to_json(state).dump() ? There::same : There::other;
  } catch (const Error&) {
    return There::other;  // of a later version, say
  }
}

/// `temporary` becomes `path`. What is there, whole, is removed when it is.
void put_in_place(const std::string& temporary, const std::string& path) {
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return;
  std::error_code error;  // nothing to exchange it with, or a file system that cannot
  fs::remove_all(path, error);
  if (!error) fs::rename(temporary, path, error);
  if (error) fail_disk(path, "not renamed from ", temporary, ": ", error.message());
}

}  // namespace

std::string save_checkpoint(const std::string& run, const CheckpointState& state, const nn::ParamStore& parameters,
                            const Optimizer& optimizer) {
  std::string path = checkpoint_path(run, state.progress.step);
  const std::string temporary = path + ".tmp";
  const There there = what_is_at(path, state);
  if (there == There::same) return path;
  std::error_code error;
  if (there == There::damaged) fs::remove_all(path, error);  // of no use to anybody, but for its room
  if (error) fail_disk(path, "a damaged checkpoint that cannot be removed: ", error.message());
  fs::create_directories(checkpoints_path(run), error);
  if (error) fail_disk(checkpoints_path(run), "the folder cannot be made: ", error.message());
  io::fsync_directory(run);

  const TemporaryFolder guard(temporary);  // removed at the end, with what was there before if anything was
  require_space_for_checkpoint(run, parameters, optimizer);
  save_model(temporary, state.config.description(state.tokenizer), parameters, io::kOneFile);  // as kFiles lists
  io::save_safetensors(temporary + "/optimizer.safetensors", optimizer.state());
  io::write_file_atomically(temporary + "/state.json", to_json(state).dump(2) + '\n');
  std::vector<std::string_view> names(kFiles.begin(), kFiles.end());
  if (state.tokenizer && state.tokenizer->kind() == TokenizerKind::sentencepiece) names.push_back(kTokenizerFile);
  write_manifest(temporary, names);
  io::fsync_directory(temporary);
  put_in_place(temporary, path);
  io::fsync_directory(checkpoints_path(run));
  return path;
}

void verify_checkpoint(const std::string& checkpoint) {
  const std::string path = io::path_inside(checkpoint, "MANIFEST.json");
  const Json document = io::read_json_file(path);
  const io::JsonCursor manifest(document, path);
  if (const int64_t version = manifest["format_version"].as_int(); version != kFormatVersion)
    fail_input(path, "expected format_version ", kFormatVersion, ", found ", version);
  std::vector<std::string_view> names(kFiles.begin(), kFiles.end());
  if (manifest["files"].find(kTokenizerFile)) names.push_back(kTokenizerFile);
  for (const std::string_view name : names) {
    const std::string file = io::path_inside(checkpoint, name);
    const io::JsonCursor entry = manifest["files"][name];
    std::error_code error;
    if (!fs::is_regular_file(fs::symlink_status(file, error))) fail_input(file, "expected a file, found none");
    const Digest found = digest_of(file);
    if (const int64_t size = entry["size"].as_int(); !std::cmp_equal(size, found.bytes))
      fail_input(file, "expected ", size, " bytes, found ", found.bytes);
    if (const std::string& expected = entry["sha256"].as_string(); found.sha256 != expected)
      fail_input(file, "expected SHA-256 ", expected, ", found ", found.sha256);
  }
}

std::vector<CheckpointEntry> list_checkpoints(const std::string& run) {
  constexpr std::string_view kPrefix = "step-";
  std::vector<CheckpointEntry> found;
  for (const std::string& path : io::paths_in(checkpoints_path(run))) {
    const std::string name = fs::path(path).filename();
    if (!name.starts_with(kPrefix)) continue;
    if (const auto step = to_number<int64_t>(std::string_view(name).substr(kPrefix.size())))
      found.push_back({*step, path});
  }
  std::sort(found.begin(), found.end(),
            [](const CheckpointEntry& a, const CheckpointEntry& b) { return a.step < b.step; });
  return found;
}

bool is_usable(const CheckpointEntry& checkpoint, const Warn& warn) {
  try {
    verify_checkpoint(checkpoint.path);
    // Its step alone: what a later version has put into its state is an error for who reads it, and no damage.
    const std::string path = io::path_inside(checkpoint.path, "state.json");
    const Json state = io::read_json_file(path);
    if (const Json* step = state.find("step"); step != nullptr && step->is_int() && step->as_int() != checkpoint.step)
      fail_input(checkpoint.path, "expected the checkpoint of step ", checkpoint.step, ", found that of step ",
                 step->as_int());
    return true;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::memory) throw;  // which says nothing of the checkpoint
    if (warn) warn(concat_text(error.what(), "; the checkpoint is passed over"));
    return false;
  }
}

std::optional<CheckpointEntry> newest_checkpoint(const std::string& run, const Warn& warn) {
  auto checkpoints = list_checkpoints(run);
  std::reverse(checkpoints.begin(), checkpoints.end());
  for (const CheckpointEntry& checkpoint : checkpoints) {
    if (is_usable(checkpoint, warn)) return checkpoint;
  }
  if (!checkpoints.empty())
    fail_input(checkpoints_path(run), "expected a valid checkpoint, found ", checkpoints.size(), ", all damaged");
  return {};
}

CheckpointState read_checkpoint_state(const std::string& checkpoint) {
  const std::string path = io::path_inside(checkpoint, "state.json");
  const Json document = io::read_json_file(path);
  const io::JsonCursor json(document, path);
  if (const int64_t version = json["format_version"].as_int(); version != kFormatVersion)
    fail_input(path, "expected format_version ", kFormatVersion, ", found ", version);
  CheckpointState state;
  state.progress = {.step = json["step"].as_int(),
                    .samples = json["samples"].as_int(),
                    .tokens = json["tokens"].as_int(),
                    .skipped_updates = json["skipped_updates"].as_int(),
                    .skipped_in_a_row = json["skipped_in_a_row"].as_int(),
                    .seconds = json["seconds"].as_double()};
  state.epoch = json["epoch"].as_int();
  state.position = json["position"].as_int();
  state.optimizer_steps = json["optimizer_steps"].as_int();
  state.data = data_from_json(json["data"]);
  if (const auto validation = json.find("validation_data")) state.validation_data = data_from_json(*validation);
  state.config = config_from_json(json["config"].value(), json["config"].where());
  state.tokenizer = load_tokenizer(checkpoint);
  return state;
}

void load_checkpoint(const std::string& checkpoint, const CheckpointState& state, const nn::ParamStore& parameters,
                     Optimizer& optimizer) {
  const auto weights = io::SafetensorsFile::open(io::path_inside(checkpoint, "model.safetensors"));
  const auto moments = io::SafetensorsFile::open(io::path_inside(checkpoint, "optimizer.safetensors"));
  parameters.load(weights.tensors(), weights.path());
  optimizer.load(moments.tensors(), state.optimizer_steps, moments.path());
}

void prune_checkpoints(const std::string& run, int64_t keep, int64_t newest_step, std::optional<int64_t> spared,
                       int64_t from) {
  auto checkpoints = list_checkpoints(run);
  std::erase_if(checkpoints, [&](const CheckpointEntry& entry) {
    return entry.step > newest_step || (from > 0 && entry.step <= from);
  });
  const auto count = static_cast<int64_t>(checkpoints.size());
  for (int64_t i = 0; i < count - std::max<int64_t>(keep, 1); ++i) {
    if (spared == checkpoints[static_cast<size_t>(i)].step) continue;
    remove_checkpoint(checkpoints[static_cast<size_t>(i)].path);
  }
}

void remove_checkpoint(const std::string& path) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return;
  // Under another name first: a removal that is cut short must not leave half a checkpoint.
  fs::rename(path, path + ".tmp", error);
  if (!error) fs::remove_all(path + ".tmp", error);
  if (error) fail_disk(path, "an old checkpoint that cannot be removed: ", error.message());
}

}  // namespace ratel::train
