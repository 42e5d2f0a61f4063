// Elements moved for one of x: three forward (gate, x, h), five more backward (gate, x and grad_h read, two gradients
// written).

#include "ops/gated_recurrence.h"

#include "autograd/gradient.h"
#include "bench/support/passes.h"
#include "ops/backward.h"
#include "ops/create.h"

namespace ratel::bench {
namespace {

using Op = RecurrenceResult (*)(const Tensor&, const Tensor&, const Tensor&);

void add_recurrence(const std::string& name, Op op, Pass pass, int64_t B, int64_t T, int64_t C) {
  const auto elements = static_cast<double>(B * T * C);
  const Work work = pass == Pass::forward ? Work{.bytes = 3 * element_bytes() * elements, .flops = 3 * elements}
                                          : Work{.bytes = 8 * element_bytes() * elements, .flops = 8 * elements};
  const std::string shape = std::to_string(B) + 'x' + std::to_string(T) + 'x' + std::to_string(C);
  add(name + '/' + name_of(pass) + '/' + shape, work, [=]() -> std::function<void()> {
    Rng rng(1);
    const Tensor gate = random_uniform({B, T, C}, rng, 0, 1, dtype(), device()), x = normals({B, T, C}, 2);
    if (pass == Pass::forward) return [=] { op(gate, x, {}); };
    const Tensor grad = normals({B, T, C}, 3);
    return [=] { backward(op(made_by_an_op(gate), made_by_an_op(x), {}).h, grad); };
  });
}

}  // namespace

void declare() {
  if (on_gpu()) {
    for (const Pass pass : {Pass::forward, Pass::forward_backward})
      for (const int64_t B : {1, 8}) add_recurrence("gated_recurrence", gated_recurrence, pass, B, 4096, 2048);
    return;
  }
  for (const Pass pass : {Pass::forward, Pass::forward_backward}) {
    add_recurrence("gated_recurrence", gated_recurrence, pass, 8, 256, 128);
    add_recurrence("gated_recurrence", gated_recurrence, pass, 8, 1024, 512);
    add_recurrence("gated_recurrence", gated_recurrence, pass, 4, 4096, 512);
    add_recurrence("gated_recurrence_reference", gated_recurrence_reference, pass, 8, 256, 128);
  }
  // The tape of the composed version costs O(T^2) backward: a slice's gradient is as large as what it was cut from.
  add_recurrence("gated_recurrence_reference", gated_recurrence_reference, Pass::forward, 8, 1024, 512);
}

}  // namespace ratel::bench
