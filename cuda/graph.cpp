// Graphs on real GPUs: work is captured from a stream of its own. Memory that is taken and given back meanwhile becomes
// nodes of the graph, which has the same addresses in every run. What lies behind them is the driver's: it keeps it
// from run to run, and graphs that run in one stream share it.

#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "core/device_graph.h"
#include "cuda/check.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace ratel::cuda {
namespace {

struct Graph {
  int device;
  size_t bytes;  // of memory that a run needs
  cudaGraphExec_t exec = nullptr;
  Graph(int on, size_t needed) : device(on), bytes(needed) {}
  ~Graph() {
    // As in raw_release: where this fails, the next call that can throw says so.
    cudaSetDevice(device);
    if (exec != nullptr) cudaGraphExecDestroy(exec);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
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

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

/// Where this thread records. It outlives what a recording that failed leaves behind, which is freed on it.
Stream recording_stream(int device) {
  thread_local std::map<int, OwnedStream> streams;
  return streams.try_emplace(device, device).first->second.get();
}

/// The graphs of a device.
struct Graphs {
  int count = 0;         // what no graph is left for goes back
  bool trimmed = false;  // they lost memory that they will ask for again when they run
};

std::mutex guard;
Graphs& graphs(int device) {
  static std::map<int, Graphs> all;
  return all[device];
}

/// Gives back what the pool of `stream` keeps and nobody holds.
void trim_pool(Stream stream) {
  synchronize(stream);
  require(cudaMemPoolTrimTo(pool_of(stream.device), 0), "cudaMemPoolTrimTo");
}

/// Calls what needs the graph's memory, and where there is none once more without what the pool keeps.
template <class Call>
void with_memory(const Graph& graph, Stream stream, const char* name, Call&& call) {
  cudaError_t answer = call();
  for (const bool again : {true, false}) {
    if (answer != cudaErrorMemoryAllocation) break;
    cudaGetLastError();
    if (!again) fail_allocation("a graph", graph.bytes, graph.device, " or train.graph = false");
    trim_pool(stream);
    answer = call();
  }
  require(answer, name);
}

/// The pool keeps all it was ever given, the driver what graphs need: where both do not fit, the pool steps back
/// before.
void make_room(const Graph& graph, Stream stream) {
  size_t available = 0, total = 0;
  require(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  if (available + graph_bytes_on(graph.device) < graph.bytes) trim_pool(stream);
}

}  // namespace

size_t graph_bytes_on(int device) {
  uint64_t bytes = 0;
  require(cudaDeviceGetGraphMemAttribute(device, cudaGraphMemAttrReservedMemCurrent, &bytes),
          "cudaDeviceGetGraphMemAttribute");
  return bytes;
}

void trim_graph_bytes(int device) {
  require(cudaDeviceGraphMemTrim(device), "cudaDeviceGraphMemTrim");
  const std::scoped_lock lock(guard);
  graphs(device).trimmed = true;
}

void* record_graph(int device, const std::function<void()>& work) {
  const Stream runs_in = current_stream({DeviceType::cuda, device}), stream = recording_stream(device);
  const StreamGuard current(stream);
  use_device(device);
  Captured captured;
  size_t bytes = 0;
  {
    const MemoryRecording memory(stream);
    require(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    try {
      work();
      memory.check_balanced();
    } catch (...) {
      cudaStreamEndCapture(native(stream), captured.into());  // what it says follows from what is thrown
      cudaGetLastError();
      throw;
    }
    require(cudaStreamEndCapture(native(stream), captured.into()), "cudaStreamEndCapture");
    bytes = memory.most_bytes();
  }
  auto graph = std::make_unique<Graph>(device, bytes);
  make_room(*graph, runs_in);
  with_memory(*graph, runs_in, "cudaGraphInstantiateWithFlags",
              [&] { return cudaGraphInstantiateWithFlags(&graph->exec, captured.get(), 0); });
  // Memory is asked for here, not in the middle of the first run.
  with_memory(*graph, runs_in, "cudaGraphUpload", [&] { return cudaGraphUpload(graph->exec, native(runs_in)); });
  count_graph_bytes(device);
  const std::scoped_lock lock(guard);
  ++graphs(device).count;
  return graph.release();
}

void run_graph(void* graph, Stream stream) {
  const Graph& recorded = *static_cast<const Graph*>(graph);
  use_device(stream.device);
  with_memory(recorded, stream, "cudaGraphLaunch", [&] { return cudaGraphLaunch(recorded.exec, native(stream)); });
  {
    const std::scoped_lock lock(guard);
    if (!std::exchange(graphs(stream.device).trimmed, false)) return;
  }
  count_graph_bytes(stream.device);
}

void release_graph(void* graph) noexcept {
  const std::unique_ptr<Graph> owned(static_cast<Graph*>(graph));
  if (owned == nullptr) return;
  const int device = owned->device;
  cudaSetDevice(device);
  cudaGraphExecDestroy(std::exchange(owned->exec, nullptr));
  try {
    {
      const std::scoped_lock lock(guard);
      if (--graphs(device).count > 0) return;
    }
    // What a run under way still needs stays, and is counted, until the next graph, or until a tensor finds too little
    // (memory.cpp). To wait here for that run would break a recording that this thread may be at.
    trim_graph_bytes(device);
    count_graph_bytes(device);
  } catch (const Error&) {
    // The device is lost: the next call that can throw says so.
  }
}

}  // namespace ratel::cuda
