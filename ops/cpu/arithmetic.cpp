#include "ops/arithmetic.h"

#include "ops/cpu/blocks.h"
#include "ops/cpu/rows.h"

namespace ratel::cpu {
namespace {

/// One row: both operands advance by their own step, 0 for a stretched axis.
template <class T, class F>
void combine_row(int64_t n, const T* a, int64_t a_step, const T* b, int64_t b_step, T* out, F f) {
  using A = accumulate_t<T>;
  const auto run = [&](auto a_at, auto b_at) {
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(f(static_cast<A>(a_at(i)), static_cast<A>(b_at(i))));
  };
  const auto next_a = [=](int64_t i) { return a[i]; };
  const auto next_b = [=](int64_t i) { return b[i]; };
  const auto one_a = [v = a[0]](int64_t) { return v; };
  const auto one_b = [v = b[0]](int64_t) { return v; };
  if (a_step == 1 && b_step == 1)
    run(next_a, next_b);
  else if (a_step == 1 && b_step == 0)
    run(next_a, one_b);
  else if (a_step == 0 && b_step == 1)
    run(one_a, next_b);
  else
    run([=](int64_t i) { return a[i * a_step]; }, [=](int64_t i) { return b[i * b_step]; });
}

template <class T, class F>
void combine(const BinaryArgs& args, F f) {
  const T* a = static_cast<const T*>(args.a);
  const T* b = static_cast<const T*>(args.b);
  T* out = static_cast<T*>(args.out);
  const int64_t n = args.a_layout.shape.numel();
  if (n == 0) return;
  if (args.a_layout.is_contiguous() && args.b_layout.is_contiguous()) {
    a += args.a_layout.offset;
    b += args.b_layout.offset;
    parallel_for(n, 1 << 15, [&](int64_t begin, int64_t end) {
      combine_row(end - begin, a + begin, 1, b + begin, 1, out + begin, f);
    });
    return;
  }
  const RowWalk rows_a(args.a_layout), rows_b(args.b_layout);
  const int64_t width = rows_a.width();
  parallel_for(n / width, rows_per_piece(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      combine_row(width, a + rows_a.position(row), rows_a.step(), b + rows_b.position(row), rows_b.step(),
                  out + row * width, f);
  });
}

}  // namespace

void binary(const BinaryArgs& args) {
  visit_float(args.dtype, "arithmetic", [&]<class T>() {
    switch (args.op) {
      case BinaryOp::add: return combine<T>(args, [](auto a, auto b) { return a + b; });
      case BinaryOp::sub: return combine<T>(args, [](auto a, auto b) { return a - b; });
      case BinaryOp::mul: return combine<T>(args, [](auto a, auto b) { return a * b; });
      case BinaryOp::div: return combine<T>(args, [](auto a, auto b) { return a / b; });
      // A NaN of b is taken as the comparison is false.
      case BinaryOp::max: return combine<T>(args, [](auto a, auto b) { return a >= b || a != a ? a : b; });
      case BinaryOp::min: return combine<T>(args, [](auto a, auto b) { return a <= b || a != a ? a : b; });
    }
  });
}

void with_number(const NumberArgs& args) {
  visit_float(args.dtype, "arithmetic", [&]<class T>() {
    const auto value = static_cast<accumulate_t<T>>(args.value);
    const auto run = [&](auto f) { map_blocks(args.n, f, static_cast<T*>(args.out), static_cast<const T*>(args.x)); };
    switch (args.op) {
      case NumberOp::add: return run([=](const auto& x) { return x + value; });
      case NumberOp::mul: return run([=](const auto& x) { return x * value; });
      case NumberOp::div: return run([=](const auto& x) { return x / value; });
    }
  });
}

void add_into(const AddIntoArgs& args) {
  visit_float(args.into_dtype, "add_into", [&]<class T>() {
    visit_float(args.x_dtype, "add_into", [&]<class X>() {
      T* into = static_cast<T*>(args.into);
      const X* x = static_cast<const X*>(args.x);
      using A = accumulate_t<T>;
      parallel_for(args.n, 1 << 15, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          into[i] = static_cast<T>(static_cast<A>(into[i]) + convert_element<A>(x[i]));
      });
    });
  });
}

}  // namespace ratel::cpu
