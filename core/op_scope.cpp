#include "core/op_scope.h"

#include <utility>

#include "core/device_memory.h"

namespace ratel {
namespace {

thread_local const char* current_name = "tensor";

}  // namespace

OpScope::OpScope(const char* name) : previous_(std::exchange(current_name, name)) {
  if constexpr (kHasCuda) cuda::open_range(name);
}

OpScope::~OpScope() {
  if constexpr (kHasCuda) cuda::close_range();
  current_name = previous_;
}

const char* OpScope::current() { return current_name; }

}  // namespace ratel
