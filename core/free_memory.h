#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ratel {

/// Bytes of memory this process may still take: what the system gives without swapping, or less where a control group
/// (v1 or v2) limits it. Nothing where the system does not say. /proc and /sys are looked for below `root`.
std::optional<int64_t> free_memory(const std::string& root = {});

/// Throws Error(memory) with both numbers where fewer than `bytes` are free: "`what` need N MiB, found M MiB free". The
/// system would hand out the memory all the same, and end the process once it is written to. `hint` says what to do.
void require_memory(int64_t bytes, std::string_view what,
                    std::string_view hint =
                        "activations come on top of that; a smaller model, or a machine with more "
                        "memory");

}  // namespace ratel
