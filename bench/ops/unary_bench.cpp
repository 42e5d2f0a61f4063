// An element is read and written forward; backward it is read with its gradient, and one is written.

#include "ops/unary.h"

#include "bench/support/passes.h"

namespace ratel::bench {
namespace {

void add_unary(const std::string& name, Tensor (*op)(const Tensor&), const Shape& shape) {
  const auto n = static_cast<double>(shape.numel());
  add_passes(name, shape, {.bytes = 2 * element_bytes() * n}, {.bytes = 3 * element_bytes() * n}, [=] {
    return Subject{{normals(shape)}, {}, [op](const auto& x) { return op(x[0]); }};
  });
}

}  // namespace

void declare() {
  if (on_gpu()) return add_unary("gelu", gelu, {4, 4096, 8192});
  for (const Shape& shape : {Shape{8, 256, 512}, Shape{8, 1024, 2048}}) {
    add_unary("gelu", gelu, shape);
    add_unary("silu", silu, shape);
    add_unary("sigmoid", sigmoid, shape);
    add_unary("relu", relu, shape);
    add_unary("exp", exp, shape);
  }
  for (const Shape& shape : {Shape{8, 256, 512}}) {
    add_unary("gelu_reference", gelu_reference, shape);
    add_unary("silu_reference", silu_reference, shape);
    add_unary("sigmoid_reference", sigmoid_reference, shape);
  }
}

}  // namespace ratel::bench
