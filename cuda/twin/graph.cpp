// Graphs of the twin: a list of steps, kernels with copies of their arguments among them. What a graph's kernels may
// touch between its runs is checked as everything is: its memory holds NaN before it is taken and after it is given
// back. Graphs do not really share their memory, but are counted as if they did.

#include "cuda/twin/graph.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "core/device_graph.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace ratel::cuda {
namespace {

struct Graph {
  std::vector<std::vector<std::function<void()>>> stages;  // the steps of each
  std::vector<void*> memory;                               // that they use
  size_t bytes = 0;                                        // that a GPU would need for it
  Weights weights;
  explicit Graph(Weights of_work) : weights(of_work) { sizes.insert(bytes); }
  ~Graph() {
    for (void* pointer : memory) raw_release(pointer, {});
    sizes.erase(sizes.find(bytes));
    count_graph_bytes(0);
  }
  static std::multiset<size_t>& sizes;  // of all graphs
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
};

std::multiset<size_t>& Graph::sizes = *new std::multiset<size_t>;  // graphs that end with the program ask for it

Graph *recorded = nullptr, *running = nullptr;
const MemoryRecording* under_way = nullptr;  // of what is recorded

/// Of one recording; ends it whatever happens.
class Recorder {
 public:
  Recorder(Graph& graph, const MemoryRecording& memory) {
    check(recorded == nullptr, "a graph is recorded while another is");
    recorded = &graph;
    under_way = &memory;
  }
  ~Recorder() {
    recorded = nullptr;
    under_way = nullptr;
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
};

void make_worthless(void* pointer, size_t bytes) { std::memset(pointer, 0xff, bytes); }

}  // namespace

void* record_graph(int device, std::span<const DeviceGraph::Stage> stages, Weights weights,
                   std::vector<bool>& lasts_into) {
  static const OwnedStream stream(device);
  auto graph = std::make_unique<Graph>(weights);
  {
    const StreamGuard current(stream.get());
    MemoryRecording memory(stream.get());
    const Recorder recorder(*graph, memory);
    for (const auto& stage : stages) {
      graph->stages.emplace_back();
      lasts_into.push_back(memory.begin_stage());
      stage.work();
      memory.check_stage(stage.runs);
    }
    memory.check_all();
    Graph::sizes.erase(Graph::sizes.find(std::exchange(graph->bytes, memory.most_bytes())));
    Graph::sizes.insert(graph->bytes);
  }
  count_graph_bytes(device);
  return graph.release();
}

void run_graph(void* graph, size_t stage, Stream) {
  running = static_cast<Graph*>(graph);
  try {
    for (const auto& step : running->stages[stage]) step();
  } catch (...) {
    running = nullptr;
    throw;
  }
  running = nullptr;
}

void release_graph(void* graph) noexcept { delete static_cast<Graph*>(graph); }

size_t graph_bytes_on(int) {
  const size_t recorded_before = Graph::sizes.empty() ? 0 : *Graph::sizes.rbegin();
  return std::max(recorded_before, under_way == nullptr ? 0 : under_way->most_bytes());
}

namespace twin {

bool is_recording() { return recorded != nullptr; }

void record(std::function<void()> step) { recorded->stages.back().push_back(std::move(step)); }

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

void set_recorded_access(Access access) {
  if (running == nullptr || running->weights == Weights::written) return;
  for (const void* pointer : running->memory) set_access(pointer, access);
}

bool is_recorded_memory(const void* address) {
  return running != nullptr &&
         std::ranges::any_of(running->memory, [=](const void* pointer) { return is_within(pointer, address); });
}

}  // namespace twin
}  // namespace ratel::cuda
