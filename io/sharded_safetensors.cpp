#include "io/sharded_safetensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <locale>
#include <set>
#include <sstream>
#include <system_error>
#include <utility>

#include "io/file.h"
#include "io/json.h"
#include "io/limits.h"
#include "io/report.h"

namespace ratel::io {
namespace {

namespace fs = std::filesystem;
using std::string_view;

// The last is of AtomicFile.
constexpr string_view kExtension = ".safetensors", kPartExtension = ".part", kTemporaryExtension = ".tmp";

/// Why a shard may not be called that, or nothing.
std::optional<string_view> objection_to_file(string_view name) {
  if (const auto objection = objection_to(name)) return objection;
  if (name.find_first_of("/\\") != string_view::npos) return "is not a plain file name";
  if (!name.ends_with(kExtension)) return "does not end in .safetensors";
  return std::nullopt;
}

/// Some writers give it as a number with a point.
std::optional<uint64_t> total_size_in(const Json& metadata, const std::string& where) {
  const Json* size = metadata.find("total_size");
  if (size == nullptr) return std::nullopt;
  const double value = size->as_double(where);
  if (!(value >= 0) || value > 9e15 || std::floor(value) != value)
    fail_input(where, "expected a number of bytes, found ", size->described());
  return static_cast<uint64_t>(value);
}

/// "1 missing: a (of x.safetensors)", kinds joined.
struct Disagreements {
  std::array<std::pair<size_t, std::string>, 2> kinds;
  enum Kind : size_t { missing, unexpected };
  void add(Kind kind, const std::string& name, const std::string& file) {
    auto& [count, text] = kinds[kind];
    text += concat_text(count++ == 0 ? "" : ", ", one_line(name), " (of ", file, ')');
  }
  [[nodiscard]] std::string text() const {
    constexpr std::array<string_view, 2> kNames{" missing: ", " unexpected: "};
    std::string all;
    for (size_t kind = 0; kind < kinds.size(); ++kind)
      if (const auto& [count, names] = kinds[kind]; count > 0)
        all += concat_text(all.empty() ? "" : "; ", count, kNames[kind], names);
    return all;
  }
};

void check_agreement(const ShardIndex& index, const std::vector<SafetensorsFile>& files, const std::string& path) {
  Disagreements wrong;
  std::set<std::pair<string_view, size_t>> sorted;  // the order of a hash is no order for a message
  for (const auto& [name, file] : index.tensors) sorted.emplace(name, file);
  for (const auto& [name, file] : sorted)
    if (!files[file].contains(name)) wrong.add(Disagreements::missing, std::string(name), index.files[file]);
  uint64_t bytes = 0;
  for (size_t i = 0; i < files.size(); ++i)
    for (const SafetensorsEntry& entry : files[i].entries()) {
      const auto found = index.tensors.find(entry.name);
      if (found == index.tensors.end() || found->second != i)
        wrong.add(Disagreements::unexpected, entry.name, index.files[i]);
      bytes += entry.end - entry.begin;
    }
  if (const std::string text = wrong.text(); !text.empty())
    fail_input(path, "the shards do not hold what the index says: ", text);
  if (index.total_size && *index.total_size != bytes)
    fail_input(path, "metadata.total_size; expected ", bytes, " bytes as in the shards, found ", *index.total_size);
}

}  // namespace

ShardIndex parse_shard_index(string_view text, string_view path) {
  ShardIndex index;
  bool has_map = false;
  std::unordered_map<std::string, size_t> places;
  parse_json_members(text, path, 0, [&](const std::string& key, const Json& value, size_t at) {
    const std::string where = concat_text(path, ":", at, ": ", one_line(key));
    if (key == "metadata" && !value.is_null()) {
      (void)value.as_object(where);
      index.total_size = total_size_in(value, where + ".total_size");
    }
    if (key != "weight_map") return;
    has_map = true;
    for (const auto& [name, file] : value.as_object(where)) {
      if (index.tensors.size() == kSafetensorsTensors)
        fail_input(where, "too many tensors; expected at most ", kSafetensorsTensors, ", found more");
      if (const auto objection = objection_to(name))
        fail_input(where, "the tensor name ", in_quotes(name), " ", *objection);
      const std::string& file_name = file.as_string(where + "." + one_line(name));
      const auto [place, is_new] = places.emplace(file_name, index.files.size());
      if (is_new) {
        if (const auto objection = objection_to_file(file_name))
          fail_input(where, "the file name ", in_quotes(file_name), " ", *objection);
        if (index.files.size() == kSafetensorsShards)
          fail_input(where, "too many files; expected at most ", kSafetensorsShards, ", found more");
        index.files.push_back(file_name);
      }
      index.tensors.emplace(name, place->second);
    }
  });
  if (!has_map) fail_at(path, text.size(), "expected a member \"weight_map\", found none");
  return index;
}

ShardedSafetensors ShardedSafetensors::open_file(const std::string& path) {
  ShardedSafetensors result;
  result.path_ = path;
  result.files_.push_back(SafetensorsFile::open(path));
  return result;
}

ShardedSafetensors ShardedSafetensors::open_folder(const std::string& folder) {
  const std::string single = path_inside(folder, kWeightsFile);
  if (path_exists(single)) return open_file(single);
  const std::string path = path_inside(folder, kShardIndexFile);
  if (!path_exists(path))
    fail_input(single, "no such file, and no ", kShardIndexFile, " beside it; expected the model's weights");
  const ShardIndex index = parse_shard_index(read_text_file(path, kJsonBytes), path);
  ShardedSafetensors result;
  result.path_ = path;
  result.files_.reserve(index.files.size());
  for (const std::string& name : index.files) result.files_.push_back(SafetensorsFile::open(path_inside(folder, name)));
  check_agreement(index, result.files_, path);
  return result;
}

std::vector<SafetensorsEntry> ShardedSafetensors::entries() const {
  std::vector<SafetensorsEntry> all;
  for (const SafetensorsFile& file : files_) all.insert(all.end(), file.entries().begin(), file.entries().end());
  return all;
}

uint64_t ShardedSafetensors::bytes() const {
  uint64_t sum = 0;
  for (const SafetensorsFile& file : files_)
    for (const SafetensorsEntry& entry : file.entries()) sum += entry.end - entry.begin;
  return sum;
}

const SafetensorsFile* ShardedSafetensors::file_of(string_view name) const {
  const auto found = std::ranges::find_if(files_, [&](const SafetensorsFile& file) { return file.contains(name); });
  return found == files_.end() ? nullptr : &*found;
}

const SafetensorsEntry* ShardedSafetensors::find(string_view name) const {
  const SafetensorsFile* file = file_of(name);
  return file == nullptr ? nullptr : file->find(name);
}

Tensor ShardedSafetensors::tensor(string_view name) const {
  if (const SafetensorsFile* file = file_of(name)) return file->tensor(name);
  fail_input(path_, "no tensor ", in_quotes(name));
}

std::vector<NamedTensor> ShardedSafetensors::tensors() const {
  std::vector<NamedTensor> result;
  for (const SafetensorsFile& file : files_) std::ranges::move(file.tensors(), std::back_inserter(result));
  return result;
}

namespace {

std::string shard_name(size_t number, size_t count) {
  std::ostringstream name;
  name.imbue(std::locale::classic());
  name << "model-" << std::setfill('0') << std::setw(5) << number << "-of-" << std::setw(5) << count << kExtension;
  return name.str();
}

/// model-NNNNN-of-NNNNN.safetensors
bool is_shard_name(string_view name) {
  string_view rest = name;
  const auto skip = [&](string_view text) {
    const bool there = rest.starts_with(text);
    if (there) rest.remove_prefix(text.size());
    return there;
  };
  const auto skip_digits = [&] {
    const size_t count = std::min(rest.find_first_not_of("0123456789"), rest.size());
    rest.remove_prefix(count);
    return count >= 5;
  };
  return skip("model-") && skip_digits() && skip("-of-") && skip_digits() && skip(kExtension) && rest.empty();
}

/// A shard, or what a save that was killed leaves of weights or their index.
bool is_leftover(string_view name) {
  string_view whole = name;
  for (const string_view extension : {kTemporaryExtension, kPartExtension})
    if (whole.ends_with(extension)) whole.remove_suffix(extension.size());
  return is_shard_name(whole) || (whole != name && (whole == kWeightsFile || whole == kShardIndexFile));
}

void remove_leftovers(const std::string& folder, const std::set<std::string>& kept) {
  for (const std::string& path : paths_in(folder)) {
    const std::string name = fs::path(path).filename();
    if (is_leftover(name) && !kept.contains(name)) remove_file(path);
  }
}

/// Tensors in their order, a new shard where the next would make it too large.
std::vector<std::vector<TensorSource>> cut(const std::vector<TensorSource>& tensors, uint64_t shard_bytes) {
  std::vector<std::vector<TensorSource>> shards(1);
  uint64_t filled = 0;
  for (const TensorSource& tensor : tensors) {
    const uint64_t bytes = tensor.bytes();
    if (!shards.back().empty() && (bytes > shard_bytes || filled > shard_bytes - bytes)) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(tensor);
    filled += bytes;
  }
  return shards;
}

}  // namespace

PreparedWeights::PreparedWeights(std::string folder) : folder_(std::move(folder)) {}

// Once the constructor that it delegates to is done, the destructor tidies up whatever is thrown.
PreparedWeights::PreparedWeights(std::string folder, const std::vector<TensorSource>& tensors, uint64_t shard_bytes)
    : PreparedWeights(std::move(folder)) {
  check(shard_bytes > 0, folder_, ": expected shards of at least 1 byte, found 0");
  uint64_t bytes = 0;
  for (const TensorSource& tensor : tensors) bytes += tensor.bytes();
  require_free_space(folder_, bytes, "the weights need");
  const auto shards = cut(tensors, shard_bytes);
  Json map = Json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    names_.push_back(shards.size() == 1 ? std::string(kWeightsFile) : shard_name(i + 1, shards.size()));
    stream_safetensors(path_of(names_.back()) + std::string(kPartExtension), shards[i]);
    for (const TensorSource& tensor : shards[i]) map.append(tensor.name, names_.back());
  }
  if (shards.size() == 1) return;
  const Json document =
      Json::object({{"metadata", Json::object({{"total_size", bytes}})}, {"weight_map", std::move(map)}});
  index_ = std::make_unique<AtomicFile>(path_of(kShardIndexFile));
  index_->write(document.dump(2) + '\n');
  index_->prepare();
}

PreparedWeights::~PreparedWeights() {
  std::error_code ignored;
  for (const std::string& name : names_) fs::remove(path_of(name) + std::string(kPartExtension), ignored);
}

std::string PreparedWeights::path_of(string_view name) const { return concat_text(folder_, '/', name); }

void PreparedWeights::commit() {
  if (index_) {
    // Without an index shards are no model, so that those of two saves are never read together.
    remove_file(path_of(kShardIndexFile));
    fsync_directory(folder_);
  }
  for (const std::string& name : names_) {
    std::error_code error;
    const std::string path = path_of(name);
    fs::rename(path + std::string(kPartExtension), path, error);
    if (error) fail_disk(path, "not renamed from ", path, kPartExtension, ": ", error.message());
  }
  fsync_directory(folder_);
  if (index_) {
    index_->commit();
    remove_file(path_of(kWeightsFile));  // while it was there it was what a reader took
  } else {
    remove_file(path_of(kShardIndexFile));
  }
  remove_leftovers(folder_, {names_.begin(), names_.end()});
  names_.clear();
  fsync_directory(folder_);
}

void save_weights(const std::string& folder, const std::vector<TensorSource>& tensors, uint64_t shard_bytes) {
  PreparedWeights(folder, tensors, shard_bytes).commit();
}

}  // namespace ratel::io
