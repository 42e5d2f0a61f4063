// Elements moved for one of an operand: four forward (q, k, v, out), eight more backward (q, k, v, out, grad_out read,
// three gradients written); FLOPs in attention_work.h. The reference holds T x T scores, so that it runs at T = 1024.
// On a GPU dense attention is cuDNN's where that is there (it is said where not), and dilated_attention_own is ours;
// dilated_attention_of_warp is ours by the instructions of all GPUs, where the others are by those of compute
// capability 9.0.

#include "ops/dilated_attention.h"

#include <iostream>
#include <optional>

#include "autograd/gradient.h"
#include "bench/support/attention_work.h"
#include "bench/support/passes.h"
#include "ops/backward.h"
#include "ops/create.h"

namespace ratel::bench {
namespace {

using Op = AttentionResult (*)(const Tensor&, const Tensor&, const Tensor&, const HeadPatterns&);

using cuda::AttentionProducts;

void add_attention(const std::string& name, Op op, Pass pass, const Shape& shape, const Pattern& pattern,
                   std::optional<AttentionProducts> products = {}) {
  const int64_t B = shape[0], H = shape[1], T = shape[2], d = shape[3];
  const auto elements = static_cast<double>(shape.numel());
  const Work work{.bytes = (pass == Pass::forward ? 4 : 12) * element_bytes() * elements,
                  .flops = attention_flops(pattern, B * H, T, d, pass)};
  const std::string sizes =
      std::to_string(B) + 'x' + std::to_string(H) + 'x' + std::to_string(T) + 'x' + std::to_string(d);
  add(name + '/' + name_of(pass) + '/' + sizes + '/' + name_of(pattern), work, [=]() -> std::function<void()> {
    if constexpr (kHasCuda)
      if (products) cuda::set_attention_products(*products);
    const Tensor q = normals(shape, 1), k = normals(shape, 2), v = normals(shape, 3);
    const HeadPatterns patterns{pattern};
    if (pass == Pass::forward) return [=] { op(q, k, v, patterns); };
    const Tensor grad = normals(shape, 4);
    return [=] { backward(op(made_by_an_op(q), made_by_an_op(k), made_by_an_op(v), patterns).out, grad); };
  });
}

/// The op with dense attention by whose kernels are named.
template <cuda::DenseAttention Whose>
AttentionResult with_dense(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns) {
  if constexpr (kHasCuda) {
    cuda::set_dense_attention(Whose);
    static bool is_told = false;
    if (const std::string refusal = cuda::dense_attention_refusal(); !refusal.empty() && !is_told) {
      std::cerr << "dilated_attention: D=1 is not cuDNN's: " << refusal << '\n';
      is_told = true;
    }
  }
  return dilated_attention(q, k, v, patterns);
}

}  // namespace

void declare() {
  if (on_gpu()) {
    for (const Pass pass : {Pass::forward, Pass::forward_backward}) {
      for (const Pattern& pattern : {Pattern{.dilation = 1}, Pattern{.dilation = 16}, Pattern{.dilation = 64},
                                     Pattern{.dilation = 16, .window = 256}})
        add_attention("dilated_attention", with_dense<cuda::DenseAttention::cudnn>, pass, {8, 16, 4096, 128}, pattern);
      add_attention("dilated_attention_own", with_dense<cuda::DenseAttention::own>, pass, {8, 16, 4096, 128},
                    {.dilation = 1});
    }
    for (const Pass pass : {Pass::forward, Pass::forward_backward})
      for (const int64_t dilation : {1, 16, 64})
        add_attention("dilated_attention_of_warp", with_dense<cuda::DenseAttention::own>, pass, {8, 16, 4096, 128},
                      {.dilation = dilation}, AttentionProducts::of_warp);
    return;
  }
  const Shape large{1, 8, 4096, 64}, small{1, 8, 1024, 64};
  for (const Pass pass : {Pass::forward, Pass::forward_backward}) {
    for (const int64_t dilation : {1, 4, 16, 64})
      add_attention("dilated_attention", dilated_attention, pass, large, {.dilation = dilation});
    add_attention("dilated_attention", dilated_attention, pass, large, {.dilation = 16, .window = 64});
    add_attention("dilated_attention", dilated_attention, pass, large, {.dilation = 64, .window = 256});
    add_attention("dilated_attention", dilated_attention, pass, large,
                  {.dilation = kNoDilatedKeys, .window = 256, .initial = 4});
    for (const int64_t dilation : {1, 16}) {
      add_attention("dilated_attention", dilated_attention, pass, small, {.dilation = dilation});
      add_attention("dilated_attention_reference", dilated_attention_reference, pass, small, {.dilation = dilation});
    }
  }
}

}  // namespace ratel::bench
