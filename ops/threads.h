#pragma once

namespace ratel {

/// How many threads CPU kernels may use from here on; 0 means all cores (the default). Results never depend on it.
void set_num_threads(int threads);
int num_threads();

}  // namespace ratel
