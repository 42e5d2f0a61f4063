#include "core/device_memory.h"

#include <cstring>

#include "core/memory.h"

namespace ratel {

int cuda_device_count() {
  if constexpr (kHasCuda) return cuda::device_count();
  return 0;
}

DeviceMemoryUse memory_use(Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::memory_use(device.index);
  const MemoryUse use = memory_use();
  return {use.live, use.peak, use.live};
}

void reset_peak_memory(Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::reset_peak_memory(device.index);
  reset_peak_memory();
}

void copy_bytes(void* into, Device into_device, const void* from, Device from_device, size_t bytes) {
  if (bytes == 0) return;
  if constexpr (kHasCuda) {
    if (into_device.is_cuda() && from_device.is_cuda())
      return cuda::copy_on_device(into, into_device.index, from, bytes, current_stream(from_device));
    if (into_device.is_cuda()) return cuda::copy_to_device(into, from, bytes, current_stream(into_device));
    if (from_device.is_cuda()) return cuda::copy_to_host(into, from, bytes, current_stream(from_device));
  }
  std::memcpy(into, from, bytes);
}

void synchronize(Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) cuda::synchronize(current_stream(device));
}

}  // namespace ratel
