// Graphs on real GPUs: work is captured from a stream of its own, each stage by itself. Memory that is taken and given
// back meanwhile lies in segments of the pool that all graphs of a device share, one run following the other, and that
// go back when the last of them has gone.

#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/device_graph.h"
#include "cuda/arena.h"
#include "cuda/check.h"
#include "cuda/graph_memory.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace ratel::cuda {
namespace {

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
  int users = 0;                        // graphs, those under way among them
  std::unique_ptr<OwnedStream> stream;  // in whose order segments come and go
};

std::mutex guard;
Graphs& graphs(int device) {
  static std::map<int, Graphs>& all = *new std::map<int, Graphs>;  // tensors that end with the program ask for it
  return all[device];
}

/// Gives the memory of graphs back where nobody uses it, and counts what is left.
void settle_graph_memory(int device) noexcept {
  {
    const std::scoped_lock lock(guard);
    Graphs& all = graphs(device);
    if (all.users == 0 && all.memory.taken() == 0 && all.memory.bytes() > 0) {
      const OutsideCapture outside;
      cudaSetDevice(device);
      cudaDeviceSynchronize();  // runs under way, in whatever streams
      all.memory.clear([&](void* segment) {
        if (cudaFreeAsync(segment, native(all.stream->get())) != cudaSuccess) cudaGetLastError();
      });
    }
  }
  count_graph_bytes(device);
}

/// A graph uses the memory of graphs, from its recording on, whether that succeeds or not.
class GraphMemoryUse {
 public:
  explicit GraphMemoryUse(int device) : device_(device) {
    const std::scoped_lock lock(guard);
    Graphs& all = graphs(device);
    if (all.stream == nullptr) all.stream = std::make_unique<OwnedStream>(device);
    ++all.users;
  }
  ~GraphMemoryUse() {
    {
      const std::scoped_lock lock(guard);
      --graphs(device_).users;
    }
    settle_graph_memory(device_);
  }
  GraphMemoryUse(const GraphMemoryUse&) = delete;
  GraphMemoryUse& operator=(const GraphMemoryUse&) = delete;

 private:
  int device_;
};

struct Graph {
  GraphMemoryUse memory;  // left when nothing below works in it any more
  int device;
  std::vector<cudaGraphExec_t> stages;
  explicit Graph(int on) : memory(on), device(on) {}
  ~Graph() {
    // As in raw_release: where this fails, the next call that can throw says so.
    cudaSetDevice(device);
    for (cudaGraphExec_t stage : stages)
      if (stage != nullptr) cudaGraphExecDestroy(stage);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
};

/// What `work` puts into the stream, which also ends where it throws.
void capture(const std::function<void()>& work, cudaStream_t stream, Captured& captured) {
  require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(stream, captured.into());  // what it says follows from what is thrown
    cudaGetLastError();
    throw;
  }
  require(cudaStreamEndCapture(stream, captured.into()), "cudaStreamEndCapture");
}

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
  check(all.stream != nullptr, "cuda: memory was asked for in a stream that is captured, but not by a DeviceGraph");
  return all.memory.take(bytes, [&](size_t segment) { return pool_allocate(segment, all.stream->get()); });
}

bool give_back_graph_memory(void* pointer, int device) noexcept {
  bool unused = false;
  {
    const std::scoped_lock lock(guard);
    Graphs& all = graphs(device);
    if (!all.memory.give_back(pointer)) return false;
    unused = all.users == 0;
  }
  if (unused) settle_graph_memory(device);  // what a recording that failed left behind
  return true;
}

size_t graph_bytes_on(int device) {
  const std::scoped_lock lock(guard);
  return graphs(device).memory.bytes();
}

void* record_graph(int device, std::span<const DeviceGraph::Stage> stages, Weights weights,
                   std::vector<bool>& lasts_into) {
  const Stream runs_in = current_stream({DeviceType::cuda, device}), stream = recording_stream(device);
  const StreamGuard current(stream);
  use_device(device);
  auto graph = std::make_unique<Graph>(device);
  std::vector<Captured> captured(stages.size());
  {
    MemoryRecording memory(stream);
    const EarlyStarts early(weights);
    for (size_t i = 0; i < stages.size(); ++i) {
      lasts_into.push_back(memory.begin_stage());
      const auto work = [&] {
        stages[i].work();
        memory.check_stage(stages[i].runs);  // while it is captured: memory of before that was freed spoils the capture
      };
      capture(work, native(stream), captured[i]);
    }
    memory.check_all();
  }
  {
    const std::scoped_lock lock(guard);
    synchronize(graphs(device).stream->get());  // new segments may have been others' a moment ago
  }
  for (const Captured& one : captured) {
    cudaGraphExec_t& stage = graph->stages.emplace_back(nullptr);
    require(cudaGraphInstantiateWithFlags(&stage, one.get(), 0), "cudaGraphInstantiateWithFlags");
    require(cudaGraphUpload(stage, native(runs_in)), "cudaGraphUpload");
  }
  count_graph_bytes(device);
  return graph.release();
}

void run_graph(void* graph, size_t stage, Stream stream) {
  use_device(stream.device);
  require(cudaGraphLaunch(static_cast<Graph*>(graph)->stages[stage], native(stream)), "cudaGraphLaunch");
}

void release_graph(void* graph) noexcept { delete static_cast<Graph*>(graph); }

}  // namespace ratel::cuda
