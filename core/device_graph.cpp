#include "core/device_graph.h"

#include <array>

namespace ratel {

DeviceGraph::DeviceGraph(Device device, const std::function<void()>& work, Weights weights)
    : DeviceGraph(device, std::array{Stage{work, Runs::once}}, weights) {}

DeviceGraph::DeviceGraph(Device device, std::span<const Stage> stages, Weights weights)
    : device_(device), stages_(stages.size()) {
  check(device.is_cuda(), "a graph is recorded on a GPU, not on ", device);
  check_present(device);
  if constexpr (kHasCuda) graph_ = cuda::record_graph(device.index, stages, weights);
}

DeviceGraph::~DeviceGraph() {
  if constexpr (kHasCuda) cuda::release_graph(graph_);
}

void DeviceGraph::run(size_t stage) const {
  check(stage < stages_, "a graph: there is no stage ", stage, " of ", stages_);
  if constexpr (kHasCuda) cuda::run_graph(graph_, stage, current_stream(device_));
}

}  // namespace ratel
