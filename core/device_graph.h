#pragma once

#include <functional>
#include <span>
#include <vector>

#include "core/device.h"
#include "core/stream.h"

namespace ratel {

/// Whether the kernels of a recorded work may write tensors that its ops read as weights, or the lengths and counts of
/// caches (CachePositions).
enum class Weights {
  written,   ///< anything
  constant,  ///< nothing, so that each cache takes up one step's tokens: a kernel may fetch its weights, and keys of
             ///< tokens before, while the kernel before it still runs
};

/// Work on a GPU that is recorded once and run many times by one call: what a step of many small kernels costs the host
/// is paid once.
///
///   DeviceGraph step(device, [&] { copy_into(result, f(input)); });
///   copy_into(input, ...); step.run();
///
/// The kernels, their arguments and addresses are those of the recording: what changes from run to run must lie in
/// tensors that were there before it. `work` runs in the constructor and computes nothing there. All that it makes is
/// gone when it returns, and nothing older is freed in it; it copies nothing between host and device and waits for
/// nothing.
///
/// A graph may have stages, each run by a call, in their order: what one makes may last into later ones, and is gone
/// when the last returns. All graphs of a device work in one memory, so that between two stages that something lasts
/// over no other graph runs: run() throws. The first stage starts anew, wherever the last run of them ended.
class DeviceGraph {
 public:
  /// How often a stage runs before the next one does: `any` number of times where all that it makes is gone when it
  /// returns, and nothing older, of an earlier stage or of before, is freed in it.
  enum class Runs { once, any };
  struct Stage {
    std::function<void()> work;
    Runs runs = Runs::once;
  };

  /// Throws Error for the CPU, where `work` breaks a rule above, and what `work` throws.
  DeviceGraph(Device device, const std::function<void()>& work, Weights weights = Weights::written);
  /// The same of several, at least one.
  DeviceGraph(Device device, std::span<const Stage> stages, Weights weights = Weights::written);
  ~DeviceGraph();
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;

  /// Puts the work of a stage into the device's current stream. Runs of all graphs of a device must follow one another,
  /// as in one stream they do: their working memory is one. Where something lasts into the stage, throws Error unless
  /// the device's last run was that of the stage before; one that runs any number of times may also follow itself, or
  /// be stepped over.
  void run(size_t stage = 0) const;

 private:
  struct LastRun;
  [[nodiscard]] bool may_follow(const LastRun& last, size_t stage) const;

  Device device_;
  std::vector<Runs> stages_;
  std::vector<bool> lasts_into_;  // of each stage: whether something of those before it does
  void* graph_ = nullptr;
};

/// Declared here and defined in cuda/, as in core/device_memory.h.
namespace cuda {
/// Of each stage, in `lasts_into`: whether memory that an earlier one took is held as it begins.
void* record_graph(int device, std::span<const DeviceGraph::Stage> stages, Weights weights,
                   std::vector<bool>& lasts_into);
void run_graph(void* graph, size_t stage, Stream stream);
void release_graph(void* graph) noexcept;
}  // namespace cuda

}  // namespace ratel
