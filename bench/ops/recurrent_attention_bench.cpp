// Elements moved for a token and channel: six forward (the projection's 5 parts read, out written), twelve more
// backward (projection, out and grad read, the projection's gradient written); FLOPs in attention_work.h. Memory must
// be linear in T: peak_MB of T = 8192 ... 65536 shows it.

#include "ops/recurrent_attention.h"

#include "autograd/gradient.h"
#include "bench/support/attention_work.h"
#include "bench/support/passes.h"
#include "ops/backward.h"
#include "ops/create.h"

namespace ratel::bench {
namespace {

using Op = Tensor (*)(const Tensor&, int64_t, const HeadPatterns&, Recurrence, double);

void add_mixing(const std::string& name, Op op, Pass pass, const Shape& shape, int64_t heads, const Pattern& pattern) {
  const int64_t B = shape[0], T = shape[1], C = shape[2];
  const auto elements = static_cast<double>(shape.numel());
  const Work work{.bytes = (pass == Pass::forward ? 6 : 18) * element_bytes() * elements,
                  .flops = attention_flops(pattern, B * heads, T, C / heads, pass)};
  const std::string sizes = std::to_string(B) + 'x' + std::to_string(T) + 'x' + std::to_string(C);
  const std::string variant = "H=" + std::to_string(heads) + ',' + name_of(pattern);
  add(name + '/' + name_of(pass) + '/' + sizes + '/' + variant, work, [=]() -> std::function<void()> {
    const Tensor projection = normals({B, T, 5 * C}, 1);
    const auto run = [=](const Tensor& x) { return op(x, heads, {pattern}, Recurrence::gated, 10000.0); };
    if (pass == Pass::forward) return [=] { run(projection); };
    const Tensor grad = normals(shape, 2);
    return [=] { backward(run(made_by_an_op(projection)), grad); };
  });
}

}  // namespace

void declare() {
  if (on_gpu()) {
    for (const Pass pass : {Pass::forward, Pass::forward_backward})
      for (const int64_t dilation : {1, 16, 64})
        add_mixing("recurrent_attention", recurrent_attention, pass, {8, 4096, 2048}, 16, {.dilation = dilation});
    return;
  }
  const Shape tiny{8, 256, 128};
  for (const Pass pass : {Pass::forward, Pass::forward_backward})
    for (const int64_t dilation : {1, 64}) {
      add_mixing("recurrent_attention", recurrent_attention, pass, tiny, 2, {.dilation = dilation});
      add_mixing("recurrent_attention_reference", recurrent_attention_reference, pass, tiny, 2, {.dilation = dilation});
    }
  for (const int64_t T : {8192, 16384, 32768, 65536})
    add_mixing("recurrent_attention", recurrent_attention, Pass::forward_backward, {1, T, 128}, 2, {.dilation = 64});
}

}  // namespace ratel::bench
