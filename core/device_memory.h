#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/stream.h"

namespace ratel {

/// Bytes held on one GPU by tensors and kernels.
struct DeviceMemoryUse {
  int64_t live = 0;       ///< now
  int64_t peak = 0;       ///< most since the start or the last reset_peak_memory(device)
  int64_t requested = 0;  ///< all that was ever asked for; of the CPU, what is live
};
DeviceMemoryUse memory_use(Device device);
void reset_peak_memory(Device device);

/// Copies bytes between any two devices, in the order of the GPU's current stream; returns when they have arrived.
void copy_bytes(void* into, Device into_device, const void* from, Device from_device, size_t bytes);

/// Waits for everything in the current stream of `device`; nothing to do on the CPU.
void synchronize(Device device);

/// What core asks of the CUDA runtime. Declared here and defined in cuda/, so that core sees no header of CUDA's; never
/// called, and so never linked, where kHasCuda is false.
namespace cuda {
int device_count();
/// Why the kernels of this build do not run on a GPU that is there, and a hint; empty where they do.
std::string no_code_for(int device);
/// At least 16-byte aligned, uninitialised, from the pool of the stream's device. Throws Error(memory) naming the op at
/// work, the bytes asked for and free, and the largest owners.
void* allocate(size_t bytes, Stream stream);
void release(void* pointer, Stream stream) noexcept;
DeviceMemoryUse memory_use(int device);
void reset_peak_memory(int device);
void copy_to_device(void* into, const void* from, size_t bytes, Stream stream);
void copy_to_host(void* into, const void* from, size_t bytes, Stream stream);
void copy_on_device(void* into, int into_device, const void* from, size_t bytes, Stream stream);
void synchronize(Stream stream);
void open_range(const char* name);
void close_range();
}  // namespace cuda

}  // namespace ratel
