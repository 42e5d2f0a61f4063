#pragma once

#include <string>
#include <vector>

#include "cli/machine.h"

namespace ratel::cli {

/// Whether this build can compute on a GPU of this machine. `note` names the GPUs, or the reason there is none.
struct GpuStatus {
  bool usable = false;
  std::string note;
  std::vector<std::string> devices;
};
GpuStatus gpu_status(const Machine& machine);

}  // namespace ratel::cli
