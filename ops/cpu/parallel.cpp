#include "ops/cpu/parallel.h"

#include <tbb/global_control.h>
#include <tbb/info.h>

#include <memory>

#include "ops/threads.h"

namespace ratel {
namespace {

std::unique_ptr<tbb::global_control> control;

}  // namespace

void set_num_threads(int threads) {
  const int wanted = threads > 0 ? threads : tbb::info::default_concurrency();
  control =
      std::make_unique<tbb::global_control>(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(wanted));
}

int num_threads() {
  return static_cast<int>(tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism));
}

}  // namespace ratel
