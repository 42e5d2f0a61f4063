// Each logit read forward; read, and its gradient written, backward; labels and losses are small beside them.

#include "ops/cross_entropy.h"

#include "bench/support/passes.h"
#include "ops/copy.h"

namespace ratel::bench {
namespace {

void add_loss(const std::string& name, Tensor (*op)(const Tensor&, const Tensor&), const Shape& shape) {
  const auto n = static_cast<double>(shape.numel());
  add_passes(name, shape, {.bytes = element_bytes() * n}, {.bytes = 2 * element_bytes() * n}, [=] {
    Rng rng(2);
    const Tensor labels = to(random_integers({shape[0], shape[1]}, rng, shape[2]), device());
    return Subject{{normals(shape)}, {}, [=](const auto& x) { return op(x[0], labels); }};
  });
}

}  // namespace

void declare() {
  if (on_gpu()) return add_loss("cross_entropy", cross_entropy, {2, 4096, 32000});
  for (const Shape& shape : {Shape{8, 256, 257}, Shape{2, 1024, 32000}})
    add_loss("cross_entropy", cross_entropy, shape);
  add_loss("cross_entropy_reference", cross_entropy_reference, {8, 256, 257});
}

}  // namespace ratel::bench
