#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/stream.h"

namespace ratel::cuda {

/// Watches the memory of this thread while work is recorded on `stream`, for a scope: the addresses in a graph are good
/// for later runs only where all that was taken meanwhile was given back, and nothing else was.
class MemoryRecording {
 public:
  explicit MemoryRecording(Stream stream);
  ~MemoryRecording();
  MemoryRecording(const MemoryRecording&) = delete;
  MemoryRecording& operator=(const MemoryRecording&) = delete;

  /// Memory was taken from a stream, or goes back to one. True where it is the one that is recorded.
  bool take(Stream stream, size_t bytes) {
    if (stream != stream_) return false;
    ++held_;
    bytes_ += bytes;
    most_bytes_ = std::max(most_bytes_, bytes_);
    return true;
  }
  void give_back(Stream stream, size_t bytes) {
    if (stream != stream_) {
      ++older_;
      return;
    }
    --held_;
    bytes_ -= bytes;
  }
  /// Throws Error unless that is so.
  void check_balanced() const;
  /// The most that was held at once: what a run of the graph needs.
  [[nodiscard]] size_t most_bytes() const { return most_bytes_; }

 private:
  Stream stream_;
  int64_t held_ = 0, older_ = 0;  // of what was taken from the stream, given back to others
  size_t bytes_ = 0, most_bytes_ = 0;
};

/// Whether what this thread records now may start early: the graph's maker said Weights::constant. On a real GPU.
bool early_starts_are_allowed();

}  // namespace ratel::cuda
