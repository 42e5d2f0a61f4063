#pragma once

#include <cstddef>

namespace ratel::cuda::twin {

/// The order in which a block's threads are let run, from barrier to barrier: a missing barrier that one order hides
/// another may show. RATEL_TWIN_ORDER=reverse in the environment starts with the reverse.
enum class Order { forward, reverse };
void set_order(Order order);

/// Bytes the twin gives out before it is out of memory; 8 GiB at first.
void set_memory_limit(size_t bytes);

}  // namespace ratel::cuda::twin
