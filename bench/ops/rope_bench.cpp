// Bytes an f32 element: 8 forward, 8 backward; the cosines and sines stay in cache.

#include "ops/rope.h"

#include "bench/support/passes.h"

namespace ratel::bench {
namespace {

void add_rope(const std::string& name, Tensor (*op)(const Tensor&, int64_t, double), const Shape& shape) {
  const auto n = static_cast<double>(shape.numel());
  add_passes(name, shape, {.bytes = 2 * element_bytes() * n}, {.bytes = 2 * element_bytes() * n}, [=] {
    return Subject{{normals(shape)}, {}, [op](const auto& x) { return op(x[0], 0, 10000.0); }};
  });
}

}  // namespace

void declare() {
  for (const Shape& shape : {Shape{8, 2, 256, 64}, Shape{4, 8, 1024, 128}}) {
    add_rope("rope", rope, shape);
    add_rope("rope_reference", rope_reference, shape);
  }
}

}  // namespace ratel::bench
