#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace ratel {

/// Bytes of memory this process may still take: what the system gives without swapping, or less where a control group
/// (v1 or v2) limits it. Nothing where the system does not say. /proc and /sys are looked for below `root`.
std::optional<int64_t> free_memory(const std::string& root = {});

/// Where a count of bytes ends: more than any memory, and a few such counts can be added.
inline constexpr int64_t kMostBytes = int64_t{1} << 60;
/// The product of numbers that are not negative; kMostBytes where it is more.
int64_t bounded_product(std::initializer_list<int64_t> factors);

/// Throws Error(memory) with both numbers where fewer than `bytes` are free: "`what` need N MiB, found M MiB free". The
/// system would hand out the memory all the same, and end the process once it is written to. `hint` says what to do.
void require_memory(int64_t bytes, std::string_view what,
                    std::string_view hint =
                        "activations come on top of that; a smaller model, or a machine with more "
                        "memory");

}  // namespace ratel
