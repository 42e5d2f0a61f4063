#include "cuda/device_info.h"

#include <cuda_runtime.h>

namespace ratel::cuda {

GpuReport gpu_report() {
  GpuReport report;
  int count = 0;
  // Without a driver the runtime answers cudaErrorInsufficientDriver as well as cudaErrorNoDevice: both mean "no GPU".
  const cudaError_t answer = cudaGetDeviceCount(&count);
  if (answer != cudaSuccess) {
    report.problem = cudaGetErrorString(answer);
    return report;
  }
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (const cudaError_t error = cudaGetDeviceProperties(&properties, index); error != cudaSuccess) {
      report.problem = cudaGetErrorString(error);
      continue;
    }
    report.gpus.push_back({properties.name, properties.major, properties.minor, properties.multiProcessorCount,
                           static_cast<int64_t>(properties.totalGlobalMem)});
  }
  return report;
}

std::string runtime_version() {
  return std::to_string(CUDART_VERSION / 1000) + '.' + std::to_string(CUDART_VERSION % 1000 / 10);
}

}  // namespace ratel::cuda
