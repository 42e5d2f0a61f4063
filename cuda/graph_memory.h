#pragma once

#include <cstddef>

#include "core/stream.h"

namespace ratel::cuda {

/// Where the memory of recorded work lies, on a real GPU (graph.cpp): what is taken while a graph is recorded comes
/// from segments that all graphs of the device share, and is given back to them. Null where the pool has none left.
void* take_graph_memory(size_t bytes, int device);
/// False for what does not lie there.
bool give_back_graph_memory(void* pointer, int device) noexcept;

/// Bytes from the stream's pool, whatever is recorded meanwhile, or null where there are none left (runtime.cpp).
void* pool_allocate(size_t bytes, Stream stream);

}  // namespace ratel::cuda
