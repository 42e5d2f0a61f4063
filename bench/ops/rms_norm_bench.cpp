// Bytes an f32 element: 8 forward, 12 backward; the weight is small beside them.

#include "ops/rms_norm.h"

#include "bench/support/passes.h"

namespace ratel::bench {
namespace {

void add_norm(const std::string& name, Tensor (*op)(const Tensor&, const Tensor&, double), const Shape& shape) {
  const auto n = static_cast<double>(shape.numel());
  add_passes(name, shape, {.bytes = 8 * n}, {.bytes = 12 * n}, [=] {
    return Subject{{normals(shape), ones({shape[-1]})}, [op](const auto& x) { return op(x[0], x[1], 1e-6); }};
  });
}

}  // namespace

void declare() {
  for (const Shape& shape : {Shape{8, 256, 128}, Shape{8, 1024, 512}}) {
    add_norm("rms_norm", rms_norm, shape);
    add_norm("rms_norm_reference", rms_norm_reference, shape);
  }
}

}  // namespace ratel::bench
