#pragma once

#include "core/device_memory.h"

namespace ratel::cuda {

/// Working memory of a kernel, uninitialised: taken and given back in the order of the stream, counted as the op's.
template <class T>
class Scratch {
 public:
  Scratch(int64_t count, Stream stream)
      : data_(static_cast<T*>(allocate(static_cast<size_t>(count) * sizeof(T), stream))), stream_(stream) {}
  ~Scratch() { release(data_, stream_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] T* get() const { return data_; }

 private:
  T* data_;
  Stream stream_;
};

}  // namespace ratel::cuda
