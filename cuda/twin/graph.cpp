// Graphs of the twin: a list of steps, kernels with copies of their arguments among them. What a graph's kernels may
// touch between its runs is checked as everything is: its memory holds NaN before it is taken and after it is given
// back.

#include "cuda/twin/graph.h"

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "core/device_graph.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace ratel::cuda {
namespace {

struct Graph {
  std::vector<std::function<void()>> steps;
  std::vector<void*> memory;  // that its steps use
  Graph() = default;
  ~Graph() {
    for (void* pointer : memory) raw_release(pointer, {});
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
};

Graph* recorded = nullptr;

/// Of one recording; ends it whatever happens.
class Recorder {
 public:
  explicit Recorder(Graph& graph) {
    check(recorded == nullptr, "a graph is recorded while another is");
    recorded = &graph;
  }
  ~Recorder() { recorded = nullptr; }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
};

void make_worthless(void* pointer, size_t bytes) { std::memset(pointer, 0xff, bytes); }

}  // namespace

void* record_graph(int device, const std::function<void()>& work) {
  auto graph = std::make_unique<Graph>();
  {
    const OwnedStream stream(device);
    const StreamGuard current(stream.get());
    const MemoryRecording memory(stream.get());
    const Recorder recorder(*graph);
    work();
    memory.check_balanced();
  }
  return graph.release();
}

void run_graph(void* graph, Stream) {
  for (const auto& step : static_cast<Graph*>(graph)->steps) step();
}

void release_graph(void* graph) noexcept { delete static_cast<Graph*>(graph); }

namespace twin {

bool is_recording() { return recorded != nullptr; }

void record(std::function<void()> step) { recorded->steps.push_back(std::move(step)); }

void check_not_recording(const char* what) {
  check(!is_recording(), what, " while a graph is recorded: it would be no part of it");
}

void record_allocation(void* pointer, size_t bytes) {
  record([=] { make_worthless(pointer, bytes); });
}

void record_release(void* pointer, size_t bytes) {
  record([=] { make_worthless(pointer, bytes); });
  recorded->memory.push_back(pointer);
}

}  // namespace twin
}  // namespace ratel::cuda
