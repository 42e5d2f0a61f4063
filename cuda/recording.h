#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/device_graph.h"
#include "core/stream.h"

namespace ratel::cuda {

/// Watches the memory of this thread while work is recorded on `stream`, stage by stage, for a scope: the addresses in
/// a graph are good for later runs only where all that was taken meanwhile was given back, and nothing else was.
class MemoryRecording {
 public:
  explicit MemoryRecording(Stream stream);
  ~MemoryRecording();
  MemoryRecording(const MemoryRecording&) = delete;
  MemoryRecording& operator=(const MemoryRecording&) = delete;

  /// Once a stage, before its work. Whether something of earlier ones lasts into it.
  bool begin_stage();
  /// Memory was taken from a stream. The number of the stage, which no other one of any recording has; 0 where it is
  /// not the stream that is recorded.
  int64_t take(Stream stream, size_t bytes) {
    if (stream != stream_) return 0;
    ++of_stage_.held;
    ++of_all_.held;
    bytes_ += bytes;
    most_bytes_ = std::max(most_bytes_, bytes_);
    return stage_;
  }
  /// What take() numbered so, or with 0 memory that was not recorded, was given back.
  void give_back(int64_t stage, size_t bytes) {
    if (stage == stage_)
      --of_stage_.held;
    else
      ++of_stage_.older;
    if (stage < first_stage_) {
      ++of_all_.older;
      return;
    }
    --of_all_.held;
    bytes_ -= bytes;
  }
  /// Throws Error unless that is so: of the stage alone, where it may run any number of times, and of all of them.
  void check_stage(DeviceGraph::Runs runs) const;
  void check_all() const;
  /// The most that was held at once: what a run of the graph needs.
  [[nodiscard]] size_t most_bytes() const { return most_bytes_; }

 private:
  struct Balance {
    int64_t held = 0, older = 0;  // of what was taken, and of other memory that was given back
  };
  static void check_even(const Balance& balance, const char* what);

  Stream stream_;
  int64_t stage_ = 0, first_stage_ = 0;
  Balance of_stage_, of_all_;
  size_t bytes_ = 0, most_bytes_ = 0;
};

/// Whether what this thread records now may start early: the graph's maker said Weights::constant. On a real GPU.
bool early_starts_are_allowed();

}  // namespace ratel::cuda
