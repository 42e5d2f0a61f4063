#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ratel::cuda {

/// One GPU of this machine, as the CUDA runtime describes it.
struct GpuInfo {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
};

/// What the runtime sees. `gpus` is empty where there is no GPU or no driver; `problem` then says what the runtime
/// answered. Never throws: a machine without a GPU is no error.
struct GpuReport {
  std::vector<GpuInfo> gpus;
  std::string problem;
};
GpuReport gpu_report();

/// The CUDA runtime this build is linked with, "13.0".
std::string runtime_version();

}  // namespace ratel::cuda
