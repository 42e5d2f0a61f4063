#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/safetensors.h"

namespace ratel::io {

class AtomicFile;

// The weights of a folder are one file, model.safetensors, or several, model-00001-of-00003.safetensors and so on,
// which model.safetensors.index.json lists:
//   {"metadata": {"total_size": bytes of all tensors}, "weight_map": {tensor: file, ...}}
// Source: https://huggingface.co/docs/safetensors and the files of Hugging Face's transformers.

inline constexpr std::string_view kWeightsFile = "model.safetensors", kShardIndexFile = "model.safetensors.index.json";

/// Of a shard, unless it holds a single tensor that is larger.
inline constexpr uint64_t kShardBytes = 5'000'000'000;
inline constexpr uint64_t kOneFile = UINT64_MAX;

struct ShardIndex {
  std::vector<std::string> files;                   ///< plain names, in the order they are first named in
  std::unordered_map<std::string, size_t> tensors;  ///< name -> place in files
  std::optional<uint64_t> total_size;               ///< bytes of all tensors
};

/// Reads and checks an index file's text. Throws Error(input) "path:offset: what" or "path: member: what": no
/// weight_map, a tensor twice, a name that is no name of a tensor, a file that is not a plain name ending in
/// .safetensors, more files or tensors than io/limits.h allows.
ShardIndex parse_shard_index(std::string_view text, std::string_view path);

/// The tensors of one or more safetensors files by name, whichever file they lie in. Copies share the mappings. Safe to
/// read from several threads.
class ShardedSafetensors {
 public:
  /// The weights in a folder: model.safetensors where there is one, else what its index lists. Throws Error(input)
  /// where there is neither, a file is missing, damaged or a link that leads out of the folder; and, in one error, for
  /// ALL tensors that are not in exactly the shard the index says, and for a total_size that is not theirs.
  static ShardedSafetensors open_folder(const std::string& folder);
  static ShardedSafetensors open_file(const std::string& path);

  /// The file that says which tensors there are: the one there is, or the index. For messages.
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::span<const SafetensorsFile> files() const { return files_; }
  /// In the order of the files and of their headers.
  [[nodiscard]] std::vector<SafetensorsEntry> entries() const;
  /// Of all tensors.
  [[nodiscard]] uint64_t bytes() const;
  [[nodiscard]] const SafetensorsEntry* find(std::string_view name) const;
  /// As SafetensorsFile::tensor and tensors().
  [[nodiscard]] Tensor tensor(std::string_view name) const;
  [[nodiscard]] std::vector<NamedTensor> tensors() const;

 private:
  [[nodiscard]] const SafetensorsFile* file_of(std::string_view name) const;
  std::string path_;
  std::vector<SafetensorsFile> files_;
};

/// New weights of a folder, complete and on the disk under other names, which commit() puts in the place of the former
/// ones: one file where all fit into `shard_bytes`, else shards in the tensors' order with their index. Without
/// commit() they are removed again, and what was there stays.
class PreparedWeights {
 public:
  /// Writes them; free space is checked first. Throws as stream_safetensors does, and Error(usage) for shards of 0
  /// bytes.
  PreparedWeights(std::string folder, const std::vector<TensorSource>& tensors, uint64_t shard_bytes = kShardBytes);
  ~PreparedWeights();
  PreparedWeights(const PreparedWeights&) = delete;
  PreparedWeights& operator=(const PreparedWeights&) = delete;

  /// Needs no more space. No set of files ever reads as a mixture: the index goes before any shard is replaced and
  /// comes last; then the files of the former weights are removed,
  /// and what saves left that were killed. Throws Error(disk).
  void commit();

 private:
  explicit PreparedWeights(std::string folder);
  [[nodiscard]] std::string path_of(std::string_view name) const;
  std::string folder_;
  std::vector<std::string> names_;     // of the files that may lie under another name
  std::unique_ptr<AtomicFile> index_;  // none of a single file
};

/// Prepares the weights of a folder and commits them.
void save_weights(const std::string& folder, const std::vector<TensorSource>& tensors,
                  uint64_t shard_bytes = kShardBytes);

}  // namespace ratel::io
