#include "cli/gpu.h"
#include "cli/output.h"
#include "cuda/device_info.h"

namespace ratel::cli {

GpuStatus gpu_status(const Machine&) {
  const cuda::GpuReport report = cuda::gpu_report();
  GpuStatus status{!report.gpus.empty(), "", {}};
  for (const cuda::GpuInfo& gpu : report.gpus) {
    status.devices.push_back(gpu.name);
    status.note += concat_text(status.note.empty() ? "" : ", ", gpu.name, " (", gpu.major, ".", gpu.minor, ", ",
                               gpu.multiprocessors, " multiprocessors, ", human_bytes(gpu.memory_bytes), ")");
  }
  if (report.gpus.empty()) status.note = report.problem;
  status.note += "; CUDA runtime " + cuda::runtime_version();
  return status;
}

}  // namespace ratel::cli
