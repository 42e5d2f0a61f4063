// Bytes: the weight once, and the few rows of x, residual and result; FLOPs of the product. fused_linear_reference is
// the composition of norm, product, GELU and sum. On a GPU calls go in turns over so many weights that none is in its
// cache when its turn comes, as the layers of a model do.

#include "ops/fused_linear.h"

#include "autograd/grad_mode.h"
#include "bench/support/passes.h"
#include "ops/copy.h"

namespace ratel::bench {
namespace {

using Op = Tensor (*)(const Tensor&, const Tensor&, const LinearFusion&);

void add_layer(const std::string& name, Op op, int64_t rows, int64_t N, int64_t K) {
  const auto weights = static_cast<double>(N) * static_cast<double>(K), tokens = static_cast<double>(rows);
  const Work work{.bytes = element_bytes() * (weights + tokens * static_cast<double>(K + 2 * N)),
                  .flops = 2 * tokens * weights};
  add(name + "/forward/" + text_of({rows, N, K}), work, [=] {
    const Tensor x = normals({rows, K}, 1), norm = normals({K}, 3), residual = normals({rows, N}, 4);
    constexpr double kBeyondCaches = 200e6;
    std::vector<Tensor> turns{normals({N, K}, 2)};
    while (on_gpu() && static_cast<double>(turns.size()) * element_bytes() * weights < kBeyondCaches)
      turns.push_back(clone(turns[0]));
    return [=, turn = size_t{0}]() mutable {
      const NoGrad no_grad;
      turn = (turn + 1) % turns.size();
      op(x, turns[turn], {.norm_weight = norm, .activation = Activation::gelu, .residual = residual});
    };
  });
}

}  // namespace

void declare() {
  // The four products of a layer of "1b", and of "small".
  const int64_t C = on_gpu() ? 2048 : 384;
  for (const int64_t rows : {1, 4, 16})
    for (const auto& [N, K] : {std::pair{5 * C, C}, {C, C}, {4 * C, C}, {C, 4 * C}}) {
      add_layer("fused_linear", fused_linear, rows, N, K);
      add_layer("fused_linear_reference", fused_linear_reference, rows, N, K);
    }
}

}  // namespace ratel::bench
