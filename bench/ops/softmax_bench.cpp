// Bytes an f32 element: 8 forward, 12 backward.

#include "ops/softmax.h"

#include "bench/support/passes.h"

namespace ratel::bench {
namespace {

void add_softmax(const std::string& name, Tensor (*op)(const Tensor&), const Shape& shape) {
  const auto n = static_cast<double>(shape.numel());
  add_passes(name, shape, {.bytes = 2 * element_bytes() * n}, {.bytes = 3 * element_bytes() * n}, [=] {
    return Subject{{normals(shape)}, {}, [op](const auto& x) { return op(x[0]); }};
  });
}

}  // namespace

void declare() {
  for (const Shape& shape : {Shape{8, 256, 257}, Shape{8, 256, 4096}}) {
    add_softmax("softmax", softmax, shape);
    add_softmax("softmax_reference", softmax_reference, shape);
    add_softmax("log_softmax", log_softmax, shape);
    add_softmax("log_softmax_reference", log_softmax_reference, shape);
  }
}

}  // namespace ratel::bench
