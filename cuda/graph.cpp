// Graphs on real GPUs: work is captured from a stream of its own. Memory that is taken and given back meanwhile becomes
// nodes of the graph, which has the same addresses in every run.

#include <cuda_runtime.h>

#include <memory>

#include "core/device_graph.h"
#include "cuda/check.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace ratel::cuda {
namespace {

struct Graph {
  int device;
  cudaGraphExec_t exec = nullptr;
};

/// A captured graph before it is made executable.
class Captured {
 public:
  Captured() = default;
  ~Captured() {
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  cudaGraph_t* into() { return &graph_; }
  [[nodiscard]] cudaGraph_t get() const { return graph_; }

 private:
  cudaGraph_t graph_ = nullptr;
};

}  // namespace

void* record_graph(int device, const std::function<void()>& work) {
  const OwnedStream stream(device);
  auto* const native = static_cast<cudaStream_t>(stream.get().handle);
  const StreamGuard current(stream.get());
  const MemoryRecording memory(stream.get());
  Captured captured;
  require(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  try {
    work();
    memory.check_balanced();
  } catch (...) {
    cudaStreamEndCapture(native, captured.into());  // what it says follows from what is thrown
    cudaGetLastError();
    throw;
  }
  require(cudaStreamEndCapture(native, captured.into()), "cudaStreamEndCapture");
  auto graph = std::make_unique<Graph>(Graph{device});
  require(cudaGraphInstantiateWithFlags(&graph->exec, captured.get(), 0), "cudaGraphInstantiateWithFlags");
  return graph.release();
}

void run_graph(void* graph, Stream stream) {
  use_device(stream.device);
  require(cudaGraphLaunch(static_cast<Graph*>(graph)->exec, static_cast<cudaStream_t>(stream.handle)),
          "cudaGraphLaunch");
}

void release_graph(void* graph) noexcept {
  const std::unique_ptr<Graph> owned(static_cast<Graph*>(graph));
  if (owned == nullptr) return;
  // As in raw_release: where this fails, the next call that can throw says so.
  cudaSetDevice(owned->device);
  cudaGraphExecDestroy(owned->exec);
}

}  // namespace ratel::cuda
