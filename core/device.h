#pragma once

#include <optional>
#include <ostream>
#include <string_view>

#include "core/build.h"
#include "core/error.h"

namespace ratel {

enum class DeviceType : unsigned char { cpu, cuda };

/// Where a tensor's bytes are. `index` counts the GPUs of this machine and is 0 for the CPU.
struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  friend constexpr bool operator==(const Device&, const Device&) = default;
  [[nodiscard]] constexpr bool is_cuda() const { return type == DeviceType::cuda; }
};

inline constexpr Device kCpu{};

inline std::ostream& operator<<(std::ostream& out, Device device) {
  return device.is_cuda() ? out << "cuda:" << device.index : out << "cpu";
}

/// For an op that has no CUDA kernel: throws Error naming the op and the device unless that is the CPU.
inline void check_cpu(Device device, std::string_view op) {
  check(!device.is_cuda(), op, ": a tensor on ", device, ", but the op computes on the CPU only");
}

/// GPUs of this machine that this build can compute on.
int cuda_device_count();

/// "cpu", "cuda" (the first GPU) or "cuda:N", whether there is such a device or not; nothing for any other text.
std::optional<Device> device_named(std::string_view text);
/// Throws Error unless this build can compute on `device` of this machine, saying what is missing.
void check_present(Device device);

}  // namespace ratel
