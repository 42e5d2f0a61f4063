#include "core/device.h"

#include <charconv>
#include <string>

#include "core/device_memory.h"

namespace ratel {

std::optional<Device> device_named(std::string_view text) {
  constexpr std::string_view kPrefix = "cuda:";
  if (text == "cpu") return kCpu;
  if (text == "cuda") return Device{DeviceType::cuda, 0};
  if (!text.starts_with(kPrefix)) return {};
  int index = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + kPrefix.size(), end, index);
  if (error != std::errc() || stop != end || index < 0) return {};
  return Device{DeviceType::cuda, index};
}

void check_present(Device device) {
  if (!device.is_cuda()) return;
  check(kHasCuda, "device ", device, ": this build has no CUDA\nhint: build with RATEL_CUDA=ON, or use cpu");
  const int count = cuda_device_count();
  check(device.index < count, "device ", device, ": found ", count, count == 1 ? " GPU" : " GPUs",
        " that CUDA can use on this machine\nhint: ratel doctor says more");
  if constexpr (kHasCuda) {
    const std::string problem = cuda::no_code_for(device.index);
    check(problem.empty(), "device ", device, ": ", problem);
  }
}

}  // namespace ratel
