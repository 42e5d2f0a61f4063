#pragma once

#include <ostream>

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

}  // namespace ratel
