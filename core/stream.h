#pragma once

#include "core/device.h"

namespace ratel {

/// A queue of work on a GPU: a plain handle (a cudaStream_t), owned by nobody. The null handle is the device's default
/// stream.
struct Stream {
  void* handle = nullptr;
  int device = 0;
  friend constexpr bool operator==(const Stream&, const Stream&) = default;
};

/// Where this thread's kernels and allocations on `device` go: its default stream outside any StreamGuard.
Stream current_stream(Device device);

/// Makes `stream` the current one of its device in this thread, for a scope. Memory goes back in the order of the
/// stream it came from: what was made outside the scope and is used in it must live until that work is done, and what
/// was made in it must be gone before its stream is.
class StreamGuard {
 public:
  explicit StreamGuard(Stream stream);
  ~StreamGuard();
  StreamGuard(const StreamGuard&) = delete;
  StreamGuard& operator=(const StreamGuard&) = delete;

 private:
  Stream previous_;
};

}  // namespace ratel
