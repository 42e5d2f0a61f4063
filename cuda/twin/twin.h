#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace ratel::cuda::twin {

/// The order in which blocks run, and a block's threads are let run from barrier to barrier: a missing barrier that one
/// order hides another may show, and so may two blocks that write one address. RATEL_TWIN_ORDER=reverse in the
/// environment starts with the reverse.
enum class Order { forward, reverse };
void set_order(Order order);

/// Bytes the twin gives out before it is out of memory; kMemory at first.
void set_memory_limit(size_t bytes);
inline constexpr size_t kMemory = size_t{8} << 30;
/// The limit that lets it give out so many more.
void set_memory_left(size_t bytes);
/// Bytes it has given out, to graphs too, and not got back.
size_t memory_given();

/// Bytes of shared memory that a block can have; kShared, those of an H100, at first.
void set_shared_limit(size_t bytes);
inline constexpr size_t kShared = size_t{227} << 10;

/// How often kernels ran so far, by name, those of graphs in each run. Products are "gemm", and "gemm added" where
/// something was added to them.
const std::map<std::string, int64_t>& launches();

}  // namespace ratel::cuda::twin
