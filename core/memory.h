#pragma once

#include <cstddef>
#include <cstdint>

namespace ratel {

/// Bytes held by tensors on the CPU, as the process asked for them.
struct MemoryUse {
  int64_t live = 0;  ///< now
  int64_t peak = 0;  ///< most since the start or the last reset_peak_memory()
};

MemoryUse memory_use();
void reset_peak_memory();

/// 64-byte aligned, uninitialised. Throws Error(memory) naming the bytes asked for and held.
void* allocate_bytes(size_t bytes);
void free_bytes(void* pointer, size_t bytes) noexcept;

}  // namespace ratel
