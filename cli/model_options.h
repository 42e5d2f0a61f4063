#pragma once

#include <cstdint>
#include <string>

#include "cli/options.h"
#include "models/model_folder.h"

namespace ratel::cli {

/// train::resolve_model_dir(); what it passes over is noted on stderr.
std::string model_dir(const std::string& path);

/// A model read from where a user pointed.
struct OpenedModel {
  std::string folder;
  LoadedModel loaded;
  int64_t seq_len;  ///< of its training, or 256 where the folder does not tell
};

/// --model, --threads, --dtype and --device. Where the model is a command's positional argument, add_place_to() alone.
struct ModelOptions {
  std::string path;
  int64_t threads = 0;
  std::string dtype = "f32", device = "cpu";

  void add_to(Options& options, Presence model = Presence::required);
  void add_place_to(Options& options);
  /// Sets the threads, and says what to compute in and where. Throws Error(usage) for what there is not.
  struct Place {
    DType dtype;
    Device device;
  };
  [[nodiscard]] Place prepare() const;
  /// prepare(), and reads the model: a model folder, a checkpoint, or the newest valid checkpoint of a run.
  /// Throws Error.
  [[nodiscard]] OpenedModel open() const;
};

}  // namespace ratel::cli
