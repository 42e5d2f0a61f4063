// Counts what tensors and kernels hold on each GPU, and by which op, whoever gives the bytes out.

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/op_scope.h"
#include "cuda/recording.h"
#include "cuda/runtime.h"

namespace ratel::cuda {
namespace {

struct Block {
  size_t bytes;
  int64_t* owner;  // what the op that asked for it holds; null for recorded work, whose memory is the graphs'
  int64_t stage;   // of that work; else 0
};

struct Counters {
  DeviceMemoryUse use;
  std::map<std::string, int64_t, std::less<>> by_op;
  std::unordered_map<const void*, Block> blocks;
  int64_t graphs = 0;  // of `use`, what is kept for graphs
};

std::mutex guard;

Counters& counters(int device) {
  static std::map<int, Counters>& all = *new std::map<int, Counters>;  // tensors that end with the program ask for it
  return all[device];
}

thread_local MemoryRecording* recording = nullptr;

double in_mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void change_live(DeviceMemoryUse& use, int64_t bytes) {
  use.live += bytes;
  use.peak = std::max(use.peak, use.live);
}

/// Throws Error(memory): the op at work asked for bytes that are not there; who holds the others, and what helps.
[[noreturn]] void fail_allocation(size_t bytes, int device) {
  count_graph_bytes(device);  // with what a recording that is under way took
  const std::scoped_lock lock(guard);
  const Counters& held = counters(device);
  std::vector<std::pair<int64_t, std::string>> owners;
  for (const auto& [op, live] : held.by_op)
    if (live > 0) owners.emplace_back(live, op);
  std::sort(owners.rbegin(), owners.rend());
  std::string largest;
  for (size_t i = 0; i < std::min<size_t>(owners.size(), 3); ++i)
    largest += concat_text(i == 0 ? "" : ", ", owners[i].second, ' ', in_mib(owners[i].first), " MiB");
  const auto asked = static_cast<int64_t>(bytes);
  const auto available = static_cast<int64_t>(free_bytes_on(device));
  const auto all = static_cast<double>(held.use.live + asked);
  const double share = static_cast<double>(held.use.live + available) / all;
  throw Error(concat_text("out of memory on cuda:", device, ": ", OpScope::current(), " asked for ", bytes, " bytes (",
                          in_mib(asked), " MiB), ", available, " are free; tensors hold ", held.use.live, " bytes",
                          largest.empty() ? "" : ", most of them by ", largest,
                          "\nhint: a batch or a sequence of at most ", static_cast<int>(100 * std::min(share, 1.0)),
                          "% of this one would fit, or in training train.recompute = true",
                          held.graphs > 0 ? " or train.graph = false" : ""),
              ErrorKind::memory);
}

}  // namespace

void* allocate(size_t bytes, Stream stream) {
  if (bytes == 0) return nullptr;
  void* const pointer = raw_allocate(bytes, stream);
  if (pointer == nullptr) fail_allocation(bytes, stream.device);
  const std::scoped_lock lock(guard);
  Counters& held = counters(stream.device);
  const auto count = static_cast<int64_t>(bytes);
  held.use.requested += count;
  if (const int64_t stage = recording == nullptr ? 0 : recording->take(stream, bytes); stage > 0) {
    held.blocks[pointer] = {bytes, nullptr, stage};
    return pointer;
  }
  int64_t& owner = held.by_op.try_emplace(OpScope::current(), 0).first->second;
  owner += count;
  held.blocks[pointer] = {bytes, &owner, 0};
  change_live(held.use, count);
  return pointer;
}

void release(void* pointer, Stream stream) noexcept {
  if (pointer == nullptr) return;
  {
    const std::scoped_lock lock(guard);
    Counters& held = counters(stream.device);
    const Block block = held.blocks.extract(pointer).mapped();
    if (recording != nullptr) recording->give_back(block.stage, block.bytes);
    if (block.owner != nullptr) {
      *block.owner -= static_cast<int64_t>(block.bytes);
      held.use.live -= static_cast<int64_t>(block.bytes);
    }
  }
  raw_release(pointer, stream);
}

void count_graph_bytes(int device) {
  static std::mutex one_at_a_time;  // not `guard`: graph_bytes_on() has to wait at times, and tensors come and go
  const std::scoped_lock order(one_at_a_time);
  const auto bytes = static_cast<int64_t>(graph_bytes_on(device));
  const std::scoped_lock lock(guard);
  Counters& held = counters(device);
  const int64_t more = bytes - std::exchange(held.graphs, bytes);
  if (more == 0) return;
  held.by_op.try_emplace("graphs", 0).first->second += more;
  change_live(held.use, more);
}

MemoryRecording::MemoryRecording(Stream stream) : stream_(stream) {
  check(recording == nullptr, "a graph is recorded while another is");
  recording = this;
}

MemoryRecording::~MemoryRecording() { recording = nullptr; }

bool MemoryRecording::begin_stage() {
  static std::atomic<int64_t> last{0};
  stage_ = ++last;
  if (first_stage_ == 0) first_stage_ = stage_;
  of_stage_ = {};
  return of_all_.held > 0;
}

void MemoryRecording::check_even(const Balance& balance, const char* what) {
  check(balance.held == 0, what, ": ", balance.held, " tensors that were made while it was recorded outlive it");
  check(balance.older == 0, what, ": ", balance.older, " tensors from before were freed while it was recorded");
}

void MemoryRecording::check_stage(DeviceGraph::Runs runs) const {
  check_even({0, of_all_.older}, "a graph");
  if (runs == DeviceGraph::Runs::any) check_even(of_stage_, "a graph's stage that runs any number of times");
}

void MemoryRecording::check_all() const { check_even(of_all_, "a graph"); }

DeviceMemoryUse memory_use(int device) {
  const std::scoped_lock lock(guard);
  return counters(device).use;
}

void reset_peak_memory(int device) {
  const std::scoped_lock lock(guard);
  DeviceMemoryUse& use = counters(device).use;
  use.peak = use.live;
}

}  // namespace ratel::cuda
