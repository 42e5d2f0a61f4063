#include "core/device_graph.h"

namespace ratel {

DeviceGraph::DeviceGraph(Device device, const std::function<void()>& work, Weights weights) : device_(device) {
  check(device.is_cuda(), "a graph is recorded on a GPU, not on ", device);
  check_present(device);
  if constexpr (kHasCuda) graph_ = cuda::record_graph(device.index, work, weights);
}

DeviceGraph::~DeviceGraph() {
  if constexpr (kHasCuda) cuda::release_graph(graph_);
}

void DeviceGraph::run() const {
  if constexpr (kHasCuda) cuda::run_graph(graph_, current_stream(device_));
}

}  // namespace ratel
