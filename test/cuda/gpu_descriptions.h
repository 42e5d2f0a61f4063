#pragma once

#include <string>

#include "core/error.h"

namespace ratel::test {

/// A GPU as cuDNN reads of one that is not there. Source: NVIDIA's data sheets, and "Compute Capabilities" of the CUDA
/// C++ Programming Guide.
inline std::string describe_gpu(const char* name, int capability, int multiprocessors, int64_t shared, int64_t l2,
                                int sm_khz, int memory_khz) {
  return concat_text(
      R"({"deviceName":")", name, R"(","deviceVer":)", capability, R"(,"driverVer":13000,"multiProcessorCount":)",
      multiprocessors, R"(,"maxSharedMemoryPerBlockOptin":)", shared, R"(,"l2CacheSize":)", l2, R"(,"smClockRateKHz":)",
      sm_khz, R"(,"memClockRateKHz":)", memory_khz,
      R"(,"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"warpSize":32,)",
      R"("maxSharedMemoryPerBlock":49152,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,)",
      R"("maxCtasPerSM":32,"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)",
      R"("supportCoopLaunch":1,"totalGlobalMem":85899345920,"cudaDeviceId":0})");
}

inline std::string h100() {
  return describe_gpu("NVIDIA H100 80GB HBM3", 900, 132, 232448, int64_t{50} << 20, 1980000, 2619000);
}
inline std::string a100() {
  return describe_gpu("NVIDIA A100-SXM4-80GB", 800, 108, 166912, int64_t{40} << 20, 1410000, 1593000);
}

}  // namespace ratel::test
