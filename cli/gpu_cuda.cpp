#include "cli/gpu.h"
#include "cli/output.h"
#include "core/device_memory.h"
#include "cuda/dense_attention.h"
#include "cuda/device_info.h"

namespace ratel::cli {

namespace {

bool has_code_for(int device) {
  try {
    return cuda::no_code_for(device).empty();
  } catch (const Error&) {  // it does not even answer
    return false;
  }
}

}  // namespace

GpuStatus gpu_status(const Machine&) {
  const cuda::GpuReport report = cuda::gpu_report();
  GpuStatus status;
  for (size_t i = 0; i < report.gpus.size(); ++i) {
    const cuda::GpuInfo& gpu = report.gpus[i];
    const bool has_code = has_code_for(static_cast<int>(i));
    status.usable = status.usable || has_code;
    status.devices.push_back(gpu.name);
    status.note += concat_text(status.note.empty() ? "" : ", ", gpu.name, " (", gpu.major, ".", gpu.minor, ", ",
                               gpu.multiprocessors, " multiprocessors, ", human_bytes(gpu.memory_bytes),
                               has_code ? ")" : ", no code for it in this build)");
  }
  if (report.gpus.empty()) status.note = report.problem;
  const std::string cudnn = cuda::dense::library_version();
  status.note += "; CUDA runtime " + cuda::runtime_version() + (cudnn.starts_with("no ") ? "; " : "; cuDNN ") + cudnn;
  return status;
}

std::optional<double> peak_flops(Device device, DType dtype) {
  struct Peak {
    const char* name;  // as the driver has it
    double bf16, f32;
  };
  // Source: NVIDIA's data sheets of each, dense.
  constexpr Peak kPeaks[] = {{"NVIDIA A100-SXM4-40GB", 312e12, 19.5e12},
                             {"NVIDIA A100-SXM4-80GB", 312e12, 19.5e12},
                             {"NVIDIA A100-PCIE-40GB", 312e12, 19.5e12},
                             {"NVIDIA A100 80GB PCIe", 312e12, 19.5e12},
                             {"NVIDIA H100 PCIe", 756e12, 51e12},
                             {"NVIDIA H100 80GB HBM3", 989e12, 67e12},
                             {"NVIDIA H200", 989e12, 67e12}};
  if (!device.is_cuda() || (dtype != DType::bf16 && dtype != DType::f32)) return {};
  const cuda::GpuReport report = cuda::gpu_report();
  const auto index = static_cast<size_t>(device.index);
  if (index >= report.gpus.size()) return {};
  for (const Peak& peak : kPeaks)
    if (report.gpus[index].name == peak.name) return dtype == DType::bf16 ? peak.bf16 : peak.f32;
  return {};
}

}  // namespace ratel::cli
