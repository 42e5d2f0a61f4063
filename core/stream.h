#pragma once

#include "core/device.h"

namespace ratel {

/// A queue of work on a GPU: a plain handle, owned by nobody. The null handle is the device's default stream.
struct Stream {
  void* handle = nullptr;
  int device = 0;
  friend constexpr bool operator==(const Stream&, const Stream&) = default;
};

/// Where this thread's kernels and allocations on `device` go: its default stream outside any StreamGuard.
Stream current_stream(Device device);

/// Makes `stream` the current one of its device in this thread, for a scope.
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
