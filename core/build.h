#pragma once

namespace ratel {

/// True where the CUDA kernels were compiled into this build.
inline constexpr bool kHasCuda = RATEL_HAS_CUDA;
inline constexpr const char* kVersion = RATEL_VERSION;

}  // namespace ratel
