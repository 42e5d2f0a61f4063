#include "cuda/device_info.h"

#include "cuda/runtime.h"

namespace ratel::cuda {

GpuReport gpu_report() { return {{{"host twin", 9, 0, 1, static_cast<int64_t>(free_bytes_on(0))}}, {}}; }

std::string runtime_version() { return "0.0"; }

}  // namespace ratel::cuda
