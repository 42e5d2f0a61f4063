#include "ops/select.h"

#include "ops/cpu/parallel.h"
#include "ops/cpu/rows.h"

// One pass over rows, whatever the layouts; bound by memory where they are contiguous.

namespace ratel::cpu {
namespace {

/// Calls f(row of `out`, width) for every row of the layouts' shape.
template <class F>
void for_each_row(const Layout& layout, F&& f) {
  const int64_t n = layout.shape.numel(), width = RowWalk(layout).width();
  if (n == 0) return;
  parallel_for(n / width, rows_per_piece(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) f(row, width);
  });
}

template <class T, class F>
void compare_all(const CompareArgs& args, F holds) {
  using A = std::conditional_t<std::is_same_v<T, bfloat16>, float, T>;
  const RowWalk rows_a(args.a_layout), rows_b(args.b_layout);
  for_each_row(args.a_layout, [&](int64_t row, int64_t width) {
    const T *a = static_cast<const T*>(args.a) + rows_a.position(row),
            *b = static_cast<const T*>(args.b) + rows_b.position(row);
    uint8_t* const out = args.out + row * width;
    for (int64_t i = 0; i < width; ++i)
      out[i] = holds(convert_element<A>(a[i * rows_a.step()]), convert_element<A>(b[i * rows_b.step()])) ? 1 : 0;
  });
}

}  // namespace

void compare(const CompareArgs& args) {
  visit_any(args.dtype, [&]<class T>() {
    switch (args.op) {
      case CompareOp::equal: return compare_all<T>(args, [](auto a, auto b) { return a == b; });
      case CompareOp::less: return compare_all<T>(args, [](auto a, auto b) { return a < b; });
      case CompareOp::less_equal: return compare_all<T>(args, [](auto a, auto b) { return a <= b; });
    }
  });
}

void where(const WhereArgs& args) {
  visit_any(args.dtype, [&]<class T>() {
    const RowWalk rows(args.condition_layout), rows_a(args.a_layout), rows_b(args.b_layout);
    for_each_row(args.a_layout, [&](int64_t row, int64_t width) {
      const uint8_t* const condition = args.condition + rows.position(row);
      const T *a = static_cast<const T*>(args.a) + rows_a.position(row),
              *b = static_cast<const T*>(args.b) + rows_b.position(row);
      T* const out = static_cast<T*>(args.out) + row * width;
      for (int64_t i = 0; i < width; ++i)
        out[i] = condition[i * rows.step()] != 0 ? a[i * rows_a.step()] : b[i * rows_b.step()];
    });
  });
}

}  // namespace ratel::cpu
