// Rotary embedding on the CPU: rows in order, each rotated in registers by a row of the table of cosines and sines.
// Reads and writes every element once (8 B in f32) besides the table, which stays in cache: bound by memory.

#include "ops/rope.h"

#include "ops/cpu/blocks.h"
#include "ops/cpu/rope_table.h"
#include "ops/cpu/scratch.h"

namespace ratel::cpu {

void rope(const RopeArgs& args) {
  visit_float(args.dtype, "rope", [&]<class T>() {
    using A = accumulate_t<T>;
    const auto table = rope_table<A>(args.position, args.T, args.d, args.base);
    const A turn = args.rotation == Rotation::forward ? 1 : -1;
    parallel_for(args.rows * args.T, rows_per_piece(args.d), [&](int64_t begin, int64_t end) {
      const Scratch<A> row(args.d);
      for (int64_t i = begin; i < end; ++i) {
        load(static_cast<const T*>(args.x) + i * args.d, row.get(), args.d);
        table->rotate(args.position + i % args.T, row.get(), row.get(), turn);
        store(row.get(), static_cast<T*>(args.y) + i * args.d, args.d);
      }
    });
  });
}

}  // namespace ratel::cpu
