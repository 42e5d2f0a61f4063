// Two elements moved forward and three backward, four with the residual's gradient, for one of x; the weight is small
// beside them.

#include "ops/rms_norm.h"

#include "autograd/node.h"
#include "bench/support/passes.h"

namespace ratel::bench {
namespace {

void add_norm(const std::string& name, Tensor (*op)(const Tensor&, const Tensor&, double), const Shape& shape) {
  const auto n = static_cast<double>(shape.numel());
  add_passes(name, shape, {.bytes = 2 * element_bytes() * n}, {.bytes = 3 * element_bytes() * n}, [=] {
    return Subject{
        {normals(shape)}, {ones({shape[-1]}, dtype(), device())}, [op](const auto& x) { return op(x[0], x[1], 1e-6); }};
  });
}

/// A norm and its residual under a branch that costs nothing: its result is the norm, and its backward hands the
/// residual a gradient that was there before.
void add_norm_residual(const Shape& shape) {
  const auto n = static_cast<double>(shape.numel());
  add_passes("rms_norm_residual", shape, {.bytes = 2 * element_bytes() * n}, {.bytes = 4 * element_bytes() * n}, [=] {
    const Tensor grad_residual = normals(shape, 2);
    return Subject{{normals(shape)}, {ones({shape[-1]}, dtype(), device())}, [grad_residual](const auto& x) {
                     const auto [norm, residual] = rms_norm_residual(x[0], x[1]);
                     return record(detach(norm), "branch", {norm, residual},
                                   [grad_residual](const Tensor& grad, const Needs&) -> Grads {
                                     return {grad, grad_residual};
                                   });
                   }};
  });
}

}  // namespace

void declare() {
  if (on_gpu()) {
    add_norm("rms_norm", rms_norm, {8, 4096, 2048});
    return add_norm_residual({8, 4096, 2048});
  }
  for (const Shape& shape : {Shape{8, 256, 128}, Shape{8, 1024, 512}}) {
    add_norm("rms_norm", rms_norm, shape);
    add_norm_residual(shape);
    add_norm("rms_norm_reference", rms_norm_reference, shape);
  }
}

}  // namespace ratel::bench
