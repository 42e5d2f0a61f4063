#include "cli/gpu.h"

namespace ratel::cli {

GpuStatus gpu_status(const Machine& machine) {
  if (machine.nvcc.empty()) return {false, "built without CUDA; no CUDA compiler found", machine.gpus};
  return {false, "built without CUDA; " + machine.nvcc + " is there: cmake --preset cuda", machine.gpus};
}

std::optional<double> peak_flops(Device, DType) { return {}; }

}  // namespace ratel::cli
