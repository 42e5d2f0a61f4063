// Two elements moved forward and three backward, for one of x; the weight is small beside them.

#include "ops/rms_norm.h"

#include "bench/support/passes.h"

namespace ratel::bench {
namespace {

void add_norm(const std::string& name, Tensor (*op)(const Tensor&, const Tensor&, double), const Shape& shape) {
  const auto n = static_cast<double>(shape.numel());
  add_passes(name, shape, {.bytes = 2 * element_bytes() * n}, {.bytes = 3 * element_bytes() * n}, [=] {
    return Subject{{normals(shape), ones({shape[-1]}, dtype(), device())},
                   [op](const auto& x) { return op(x[0], x[1], 1e-6); }};
  });
}

}  // namespace

void declare() {
  if (on_gpu()) return add_norm("rms_norm", rms_norm, {8, 4096, 2048});
  for (const Shape& shape : {Shape{8, 256, 128}, Shape{8, 1024, 512}}) {
    add_norm("rms_norm", rms_norm, shape);
    add_norm("rms_norm_reference", rms_norm_reference, shape);
  }
}

}  // namespace ratel::bench
