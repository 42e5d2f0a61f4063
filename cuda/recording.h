#pragma once

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

  /// Memory was taken from a stream, or goes back to one.
  void take(Stream stream) { held_ += stream == stream_ ? 1 : 0; }
  void give_back(Stream stream) { stream == stream_ ? --held_ : ++older_; }
  /// Throws Error unless that is so.
  void check_balanced() const;

 private:
  Stream stream_;
  int64_t held_ = 0, older_ = 0;  // of what was taken from the stream, given back to others
};

}  // namespace ratel::cuda
