#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/machine.h"
#include "core/device.h"
#include "core/dtype.h"

namespace ratel::cli {

/// Whether this build can compute on a GPU of this machine. `note` names the GPUs, or the reason there is none.
struct GpuStatus {
  bool usable = false;
  std::string note;
  std::vector<std::string> devices;
};
GpuStatus gpu_status(const Machine& machine);

/// FLOP/s of matrix products that a device is specified for in a dtype, without sparsity: the denominator of MFU. Known
/// of the data centre GPUs A100, H100 and H200 by their names, in bf16, and in f32 without TF32. Nothing for all else:
/// a CPU's depends on its clock and load.
std::optional<double> peak_flops(Device device, DType dtype);

}  // namespace ratel::cli
