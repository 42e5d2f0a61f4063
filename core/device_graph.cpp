#include "core/device_graph.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>

namespace ratel {

/// What the memory of a device's graphs holds: what this stage left there.
struct DeviceGraph::LastRun {
  const DeviceGraph* graph = nullptr;
  size_t stage = 0;

  static std::mutex guard;
  static LastRun& on(Device device) {
    static std::map<int, LastRun>& all = *new std::map<int, LastRun>;  // graphs that end with the program ask for it
    return all[device.index];
  }
};

std::mutex DeviceGraph::LastRun::guard;

DeviceGraph::DeviceGraph(Device device, const std::function<void()>& work, Weights weights)
    : DeviceGraph(device, std::array{Stage{work, Runs::once}}, weights) {}

DeviceGraph::DeviceGraph(Device device, std::span<const Stage> stages, Weights weights) : device_(device) {
  check(device.is_cuda(), "a graph is recorded on a GPU, not on ", device);
  check_present(device);
  for (const Stage& stage : stages) stages_.push_back(stage.runs);
  if constexpr (kHasCuda) graph_ = cuda::record_graph(device.index, stages, weights, lasts_into_);
}

DeviceGraph::~DeviceGraph() {
  if constexpr (kHasCuda) {
    {
      const std::scoped_lock lock(LastRun::guard);
      if (LastRun& last = LastRun::on(device_); last.graph == this) last = {};
    }
    cuda::release_graph(graph_);
  }
}

bool DeviceGraph::may_follow(const LastRun& last, size_t stage) const {
  if (!lasts_into_[stage]) return true;
  if (last.graph != this || last.stage > stage) return false;
  if (last.stage == stage) return stages_[stage] == Runs::any;
  const auto begin = stages_.begin();
  return std::all_of(begin + static_cast<std::ptrdiff_t>(last.stage) + 1, begin + static_cast<std::ptrdiff_t>(stage),
                     [](Runs runs) { return runs == Runs::any; });
}

void DeviceGraph::run(size_t stage) const {
  check(stage < stages_.size(), "a graph: there is no stage ", stage, " of ", stages_.size());
  if constexpr (kHasCuda) {
    const std::scoped_lock lock(LastRun::guard);
    LastRun& last = LastRun::on(device_);
    if (!may_follow(last, stage))
      fail("a graph: stage ", stage, " needs what those before it left in memory, but the last run of ", device_,
           last.graph == this ? concat_text(" was stage ", last.stage) : " was no stage of this graph");
    last = {};  // also where the run fails
    cuda::run_graph(graph_, stage, current_stream(device_));
    last = {this, stage};
  }
}

}  // namespace ratel
