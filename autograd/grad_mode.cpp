#include "autograd/grad_mode.h"

namespace ratel {
namespace {

thread_local bool enabled_here = true, expected_here = true;

}  // namespace

bool grad_enabled() { return enabled_here; }

bool grad_expected() { return expected_here; }

GradMode::GradMode(bool enabled, bool expected) : previous_(enabled_here), expected_before_(expected_here) {
  enabled_here = enabled;
  expected_here = expected;
}

GradMode::~GradMode() {
  enabled_here = previous_;
  expected_here = expected_before_;
}

}  // namespace ratel
