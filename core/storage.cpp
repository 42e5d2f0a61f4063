#include "core/storage.h"

#include <utility>

#include "core/device_memory.h"
#include "core/error.h"
#include "core/memory.h"

namespace ratel {

Storage::Storage(size_t bytes, Device device) : bytes_(bytes), device_(device) {
  if (device.is_cuda()) {
    check(kHasCuda, "a tensor on ", device, " was asked for, but this build computes on the CPU only");
    check(device.index >= 0 && device.index < cuda_device_count(), "a tensor on ", device, " was asked for, found ",
          cuda_device_count(), " GPUs\nhint: ratel doctor says what the CUDA runtime answered");
    stream_ = current_stream(device);
  }
  if constexpr (kHasCuda)
    if (device.is_cuda()) {
      data_ = cuda::allocate(bytes, stream_);
      return;
    }
  data_ = allocate_bytes(bytes);
}

Storage::Storage(void* data, size_t bytes, std::shared_ptr<void> owner)
    : data_(data), bytes_(bytes), owner_(std::move(owner)) {}

Storage::~Storage() {
  if (owner_ != nullptr) return;
  if constexpr (kHasCuda)
    if (device_.is_cuda()) {
      cuda::release(data_, stream_);
      return;
    }
  free_bytes(data_, bytes_);
}

}  // namespace ratel
