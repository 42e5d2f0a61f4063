// Graphs on real GPUs: work is captured from a stream of its own. Memory that is taken and given back meanwhile lies in
// segments of the pool that all graphs of a device share, one run following the other, and that go back when the last
// of them has gone.

#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "core/device_graph.h"
#include "cuda/arena.h"
#include "cuda/check.h"
#include "cuda/graph_memory.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace ratel::cuda {
namespace {

struct Graph {
  int device;
  cudaGraphExec_t exec = nullptr;
  explicit Graph(int on) : device(on) {}
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

/// Where this thread records. It outlives what a recording that failed leaves behind.
Stream recording_stream(int device) {
  thread_local std::map<int, OwnedStream> streams;
  return streams.try_emplace(device, device).first->second.get();
}

/// The graphs of a device, and what their runs work in.
struct Graphs {
  Arena memory;
  int users = 0;                        // graphs, and recordings under way
  std::unique_ptr<OwnedStream> stream;  // in whose order segments come and go
};

std::mutex guard;
Graphs& graphs(int device) {
  static std::map<int, Graphs>& all = *new std::map<int, Graphs>;  // tensors that end with the program ask for it
  return all[device];
}

/// A graph, or a recording, uses the memory of graphs; with the last of them it goes back.
class GraphMemoryUse {
 public:
  explicit GraphMemoryUse(int device) : device_(device) {
    const std::scoped_lock lock(guard);
    Graphs& all = graphs(device);
    if (all.stream == nullptr) all.stream = std::make_unique<OwnedStream>(device);
    ++all.users;
  }
  ~GraphMemoryUse() { leave(device_); }
  GraphMemoryUse(const GraphMemoryUse&) = delete;
  GraphMemoryUse& operator=(const GraphMemoryUse&) = delete;

  static void leave(int device) noexcept {
    const std::scoped_lock lock(guard);
    Graphs& all = graphs(device);
    if (--all.users > 0 || all.memory.taken() > 0) return;
    const OutsideCapture outside;
    cudaSetDevice(device);
    cudaDeviceSynchronize();  // runs under way, in whatever streams
    all.memory.clear([&](void* segment) {
      if (cudaFreeAsync(segment, native(all.stream->get())) != cudaSuccess) cudaGetLastError();
    });
  }

 private:
  int device_;
};

thread_local bool may_start_early = false;

/// For the scope of a recording.
class EarlyStarts {
 public:
  explicit EarlyStarts(Weights weights) { may_start_early = weights == Weights::constant; }
  ~EarlyStarts() { may_start_early = false; }
  EarlyStarts(const EarlyStarts&) = delete;
  EarlyStarts& operator=(const EarlyStarts&) = delete;
};

}  // namespace

bool early_starts_are_allowed() { return may_start_early; }

void* take_graph_memory(size_t bytes, int device) {
  const std::scoped_lock lock(guard);
  Graphs& all = graphs(device);
  return all.memory.take(bytes, [&](size_t segment) { return pool_allocate(segment, all.stream->get()); });
}

bool give_back_graph_memory(void* pointer, int device) noexcept {
  const std::scoped_lock lock(guard);
  return graphs(device).memory.give_back(pointer);
}

size_t graph_bytes_on(int device) {
  const std::scoped_lock lock(guard);
  return graphs(device).memory.bytes();
}

void* record_graph(int device, const std::function<void()>& work, Weights weights) {
  const Stream runs_in = current_stream({DeviceType::cuda, device}), stream = recording_stream(device);
  const StreamGuard current(stream);
  use_device(device);
  const GraphMemoryUse use(device);
  Captured captured;
  {
    const MemoryRecording memory(stream);
    const EarlyStarts early(weights);
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
  }
  {
    const std::scoped_lock lock(guard);
    synchronize(graphs(device).stream->get());  // new segments may have been others' a moment ago
  }
  auto graph = std::make_unique<Graph>(device);
  require(cudaGraphInstantiateWithFlags(&graph->exec, captured.get(), 0), "cudaGraphInstantiateWithFlags");
  require(cudaGraphUpload(graph->exec, native(runs_in)), "cudaGraphUpload");
  count_graph_bytes(device);
  const std::scoped_lock lock(guard);
  ++graphs(device).users;
  return graph.release();
}

void run_graph(void* graph, Stream stream) {
  use_device(stream.device);
  require(cudaGraphLaunch(static_cast<Graph*>(graph)->exec, native(stream)), "cudaGraphLaunch");
}

void release_graph(void* graph) noexcept {
  const std::unique_ptr<Graph> owned(static_cast<Graph*>(graph));
  if (owned == nullptr) return;
  const int device = owned->device;
  cudaSetDevice(device);
  cudaGraphExecDestroy(std::exchange(owned->exec, nullptr));
  GraphMemoryUse::leave(device);
  count_graph_bytes(device);
}

}  // namespace ratel::cuda
