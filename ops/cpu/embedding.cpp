// Embedding on the CPU.
//   forward   copies one row an id: 8 C bytes an f32 id, bound by memory
//   backward  the table is zeroed, then a task owns a strip of channels of it and adds the rows of the gradient in the
//             order of the ids: no two tasks touch one number, and the order of additions is fixed. 12 C bytes an f32
//             id and 4 V C of table, bound by memory

#include "ops/embedding.h"

#include <cstring>

#include "ops/cpu/blocks.h"

namespace ratel::cpu {

void embedding_forward(const EmbeddingArgs& args) {
  const size_t row = static_cast<size_t>(args.C) * size_of(args.dtype);
  if (row == 0) return;
  parallel_for(args.n, rows_per_piece(args.C), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memcpy(static_cast<char*>(args.out) + static_cast<size_t>(i) * row,
                  static_cast<const char*>(args.weight) + static_cast<size_t>(args.ids[i]) * row, row);
  });
}

void embedding_backward(const EmbeddingBackwardArgs& args) {
  visit_float(args.dtype, "embedding", [&]<class T>() {
    using A = accumulate_t<T>;
    A* table = static_cast<A*>(args.grad_weight);
    parallel_for(args.V * args.C, 1 << 16,
                 [&](int64_t begin, int64_t end) { std::fill(table + begin, table + end, A{0}); });
    // A strip is a whole cache line at least; eight of them, where C has as many, let a few threads end together.
    const int64_t strip = std::clamp<int64_t>(args.C / 8 / 16 * 16, 16, 64);
    parallel_for(args.C, strip, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < args.n; ++i) {
        const T* grad = static_cast<const T*>(args.grad) + i * args.C;
        A* row = table + args.ids[i] * args.C;
        for (int64_t c = begin; c < end; ++c) row[c] += static_cast<A>(grad[c]);
      }
    });
  });
}

}  // namespace ratel::cpu
