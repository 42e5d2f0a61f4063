#include "ops/select.h"

#include <algorithm>
#include <span>

#include "ops/cpu/parallel.h"
#include "ops/cpu/rows.h"

// One pass over rows; of what lies contiguously, or is one number, vectorised, and bound by memory.

namespace ratel::cpu {
namespace {

/// Calls f(row, position in `out`, width) for the rows of the layouts, or for pieces of one row where all are
/// contiguous or one number.
template <class F>
void for_each_row(bool is_one_row, const Layout& layout, F&& f) {
  const int64_t n = layout.shape.numel(), width = is_one_row ? n : RowWalk(layout).width();
  if (n == 0) return;
  if (is_one_row) return parallel_for(n, 1 << 15, [&](int64_t begin, int64_t end) { f(0, begin, end - begin); });
  parallel_for(n / width, rows_per_piece(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) f(row, row * width, width);
  });
}

/// An operand by rows, or as one.
template <class T>
class Operand {
 public:
  Operand(const void* data, const Layout& layout) : data_(static_cast<const T*>(data)), layout_(layout), rows_(layout) {
    const auto strides = std::span(layout.strides).first(static_cast<size_t>(layout.shape.rank()));
    is_number_ = std::ranges::all_of(strides, [](int64_t stride) { return stride == 0; });
    is_contiguous_ = layout.is_contiguous();
  }
  [[nodiscard]] bool is_one_row() const { return is_number_ || is_contiguous_; }

  /// Calls f with what gives the i-th element of a row from `at` on.
  template <class F>
  void with_row(bool as_one, int64_t row, int64_t at, F&& f) const {
    const int64_t step = !as_one ? rows_.step() : is_number_ ? 0 : 1;
    const T* const x = data_ + (!as_one ? rows_.position(row) : layout_.offset + (is_number_ ? 0 : at));
    if (step == 1)
      f([x](int64_t i) { return x[i]; });
    else if (step == 0)
      f([value = *x](int64_t) { return value; });
    else
      f([x, step](int64_t i) { return x[i * step]; });
  }

 private:
  const T* data_;
  const Layout& layout_;
  RowWalk rows_;
  bool is_number_, is_contiguous_;
};

template <class T, class F>
void compare_all(const CompareArgs& args, F holds) {
  using A = std::conditional_t<std::is_same_v<T, bfloat16>, float, T>;
  const Operand<T> a(args.a, args.a_layout), b(args.b, args.b_layout);
  const bool one = a.is_one_row() && b.is_one_row();
  for_each_row(one, args.a_layout, [&](int64_t row, int64_t at, int64_t width) {
    uint8_t* const out = args.out + at;
    a.with_row(one, row, at, [&](auto a_at) {
      b.with_row(one, row, at, [&](auto b_at) {
        for (int64_t i = 0; i < width; ++i)
          out[i] = static_cast<uint8_t>(holds(convert_element<A>(a_at(i)), convert_element<A>(b_at(i))));
      });
    });
  });
}

/// Integers of as many bytes as an element: which type it is does not matter to who moves it.
template <class F>
void visit_size(size_t bytes, F&& f) {
  switch (bytes) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
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
  visit_size(size_of(args.dtype), [&](auto element) {
    using T = decltype(element);
    const Operand<uint8_t> condition(args.condition, args.condition_layout);
    const Operand<T> a(args.a, args.a_layout), b(args.b, args.b_layout);
    const bool one = condition.is_one_row() && a.is_one_row() && b.is_one_row();
    for_each_row(one, args.a_layout, [&](int64_t row, int64_t at, int64_t width) {
      T* const out = static_cast<T*>(args.out) + at;
      condition.with_row(one, row, at, [&](auto is_a) {
        a.with_row(one, row, at, [&](auto a_at) {
          b.with_row(one, row, at, [&](auto b_at) {
            for (int64_t i = 0; i < width; ++i) {
              const T from_a = a_at(i), from_b = b_at(i);
              out[i] = is_a(i) != 0 ? from_a : from_b;
            }
          });
        });
      });
    });
  });
}

}  // namespace ratel::cpu
