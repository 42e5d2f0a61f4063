#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/rat_plus.h"
#include "nn/param_store.h"
#include "train/config.h"
#include "train/optimizer.h"
#include "train/run_folder.h"
#include "train/trainer.h"

namespace ratel::train {

// RUN/checkpoints/step-N/ is a model folder with more in it:
//   config.json, model.safetensors, tokenizer.model where the model has one   models/model_folder.h
//   optimizer.safetensors            the moments: m.PATH, v.PATH
//   state.json                       CheckpointState
//   MANIFEST.json                    size and SHA-256 of each of these; written last

/// The data a run reads, so that a resumed one can tell that it changed.
struct DataIdentity {
  std::string fingerprint;  ///< io::TokenFile::fingerprint()
  int64_t tokens = 0;
  friend bool operator==(const DataIdentity&, const DataIdentity&) = default;
};

struct CheckpointState {
  Progress progress;
  int64_t epoch = 0, position = 0;  ///< of the next sample; follow from progress.samples
  int64_t optimizer_steps = 0;
  DataIdentity data;
  std::optional<DataIdentity> validation_data;  ///< that the run validated on last
  TrainConfig config;
  std::optional<Tokenizer> tokenizer;  ///< that config.data.tokenizer named; kept in the checkpoint itself
};

/// Writes RUN/checkpoints/step-N/ so that it is there whole or not at all, whenever the process or the machine stops:
/// into step-N.tmp/, every file brought to the disk, the manifest last, then renamed. A valid step-N of the same state
/// stays as it is; one of another changes places with the new one, and goes. Returns its path. Throws Error(disk);
/// nothing whole that was there is lost, and no step-N.tmp is left, then.
std::string save_checkpoint(const std::string& run, const CheckpointState& state, const nn::ParamStore& parameters,
                            const Optimizer& optimizer);

/// Throws Error(input) naming the first file that is missing, or has another size or hash than its manifest says.
void verify_checkpoint(const std::string& checkpoint);

struct CheckpointEntry {
  int64_t step = 0;
  std::string path;
};
/// All step-N folders of a run, oldest first, valid or not.
std::vector<CheckpointEntry> list_checkpoints(const std::string& run);
/// Whether verify_checkpoint accepts it, and its state is of its step; if not it is named to `warn`. Throws
/// Error(memory) where the process has no memory or descriptor to tell.
bool is_usable(const CheckpointEntry& checkpoint, const Warn& warn);
/// The newest that is usable; each newer one that is not is named to `warn`. Nothing where the
/// run has no checkpoints at all. Throws Error(input) where there are some but none is valid.
std::optional<CheckpointEntry> newest_checkpoint(const std::string& run, const Warn& warn = {});

CheckpointState read_checkpoint_state(const std::string& checkpoint);
/// Weights, moments and the optimizer's count. Throws Error(input) where they do not fit.
void load_checkpoint(const std::string& checkpoint, const CheckpointState& state, const nn::ParamStore& parameters,
                     Optimizer& optimizer);

/// Removes all checkpoints after step `from` and up to `newest_step` but the newest `keep` (at least 1) of them and
/// that of the step `spared`. The one of `newest_step` must be valid, and stays. Others are left alone. Throws
/// Error(disk).
void prune_checkpoints(const std::string& run, int64_t keep, int64_t newest_step, std::optional<int64_t> spared = {},
                       int64_t from = 0);

/// There is no such checkpoint afterwards. Throws Error(disk).
void remove_checkpoint(const std::string& path);

/// Throws Error(disk) with a hint where the file system has no room for one more checkpoint of the run.
void require_space_for_checkpoint(const std::string& run, const nn::ParamStore& parameters, const Optimizer& optimizer);

}  // namespace ratel::train
