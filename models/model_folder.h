#pragma once

#include <string>
#include <vector>

#include "io/sharded_safetensors.h"
#include "models/description.h"
#include "nn/param_store.h"

namespace ratel {

/// A model folder holds config.json, the weights, in model.safetensors or in the shards that
/// model.safetensors.index.json lists (io/sharded_safetensors.h), and, where models/tokenizer_file.h says so,
/// tokenizer.model:
///   {"format_version": 1, "architecture": "rat_plus", "dtype": "f32", "tokenizer": "bytes", "model": {the sizes},
///    "adapted_pattern": the pattern, or left out}
/// and every parameter under its path ("layers.0.mixer.in_proj.weight").

inline constexpr int64_t kModelFormatVersion = 1;

/// Writes the folder, which is created where there is none; weights of more than `shard_bytes` as shards. All files are
/// brought to the disk under other names first: what ends the save before that, be it an error, leaves the model that
/// was there as it was, and an error nothing of the new one. Then config.json is removed, the others put in their
/// places and config.json last, so that a folder that is cut off in between is no model, never a mixture of two. Throws
/// Error where the description is not valid or the store does not hold its model's parameters; Error(disk).
void save_model(const std::string& folder, const ModelDescription& description, const nn::ParamStore& store,
                uint64_t shard_bytes = io::kShardBytes);
/// The same of parameters of one float dtype that are read one at a time. Throws what reading them throws, too.
void save_model(const std::string& folder, const ModelDescription& description, DType dtype,
                const std::vector<io::TensorSource>& parameters, uint64_t shard_bytes = io::kShardBytes);

/// A folder that has been looked at: its files agree, and no weight has been read.
struct ModelFolder {
  ModelDescription description;
  DType dtype;  ///< of the weights
  io::ShardedSafetensors weights;
};
/// Throws Error (input) as load_model does.
ModelFolder open_model(const std::string& folder);

/// A model together with its parameters.
struct LoadedModel {
  ModelDescription description;
  nn::ParamStore store;
  RatPlus model;
};

/// Reads a folder; the parameters are converted to `dtype`, in which the model then computes, on `device`. Nothing is
/// allocated for them before the files are known to agree. Throws Error (input) naming the file: one that is missing or
/// damaged, or a link that leads out of the folder; a tokenizer.model that is not the one config.json names; in
/// config.json what is missing, unknown, of a wrong type or not supported; in the weights ALL tensors that are missing,
/// unexpected or misshaped, in one error. Throws
/// Error(memory) where the parameters do not fit into what is free.
LoadedModel load_model(const std::string& folder, DType dtype = DType::f32, Device device = kCpu);

}  // namespace ratel
