// Shapes are tokens x V x C. Forward: a row read and a row written an id. Backward: the gradient's rows read, the rows
// of the table's gradient read and written, and the whole of it zeroed.

#include "ops/embedding.h"

#include "bench/support/passes.h"

namespace ratel::bench {

void declare() {
  for (const auto& sizes : {std::array<int64_t, 3>{2048, 257, 128}, {4096, 32000, 512}}) {
    const int64_t n = sizes[0], V = sizes[1], C = sizes[2];
    const double row = 4.0 * static_cast<double>(C), rows = static_cast<double>(n), table = static_cast<double>(V);
    add_passes("embedding", {n, V, C}, {.bytes = 2 * rows * row}, {.bytes = 3 * rows * row + table * row}, [=] {
      Rng rng(2);
      const Tensor ids = random_integers({n}, rng, V);
      return Subject{{}, {normals({V, C})}, [ids](const auto& x) { return embedding(x[0], ids); }};
    });
  }
}

}  // namespace ratel::bench
