#include "ops/arithmetic.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/gradient.h"
#include "core/memory.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/reduce.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

struct Case {
  const char* path;
  Shape a, b;
};

// The kernel's paths: one contiguous run; rows with one operand stretched along them; rows of strided operands.
const Case kCases[] = {
    {"one element", {1}, {1}},
    {"rank 0 with anything", {}, {3, 4}},
    {"contiguous, below a block", {3, 5}, {3, 5}},
    {"contiguous, several pieces", {3, 40000}, {3, 40000}},
    {"b stretched over rows", {7, 33}, {33}},
    {"b stretched along rows", {7, 33}, {7, 1}},
    {"a stretched along rows", {7, 1}, {7, 33}},
    {"both stretched", {5, 1, 4}, {3, 1}},
    {"empty", {0, 3}, {3}},
};

double reference(char op, double a, double b) {
  switch (op) {
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    case '>': return std::max(a, b);
    case '<': return std::min(a, b);
    default: return a / b;
  }
}

Tensor apply(char op, const Tensor& a, const Tensor& b) {
  switch (op) {
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    case '>': return maximum(a, b);
    case '<': return minimum(a, b);
    default: return a / b;
  }
}

/// The definition: index arithmetic over the broadcast shape, one element at a time.
Tensor by_elements(char op, const Tensor& a, const Tensor& b) {
  const Shape shape = ratel::broadcast_shapes(a.shape(), b.shape(), "test");
  const auto x = ratel::to_vector<double>(ratel::view_of(a, a.layout().broadcast_to(shape, "test")));
  const auto y = ratel::to_vector<double>(ratel::view_of(b, b.layout().broadcast_to(shape, "test")));
  std::vector<double> values;
  for (size_t i = 0; i < x.size(); ++i) values.push_back(reference(op, x[i], y[i]));
  return ratel::from_vector(values, shape, a.dtype());
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_op_equals_its_definition_in_every_dtype_and_layout) {
  for (const Case& c : kCases)
    for (const char op : {'+', '-', '*', '/', '>', '<'})
      for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        const Tensor a = test::randn(c.a, 1, dtype), b = test::randn(c.b, 2, dtype), expected = by_elements(op, a, b);
        for (const ratel::Device device : test::devices()) {
          const Tensor x = to(a, device), y = to(b, device);
          const std::string what = ratel::concat_text(c.path, ' ', op, " on ", device);
          test::check_identical(apply(op, x, y), expected, what);
          test::check_identical(apply(op, test::scattered(x), test::scattered(y)), expected, what + " strided");
        }
      }
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (const Case& c : kCases) {
    if (c.a.numel() > 1000) continue;
    const std::vector<Tensor> inputs{test::randn(c.a, 1), test::randn(c.b, 2) * test::randn(c.b, 2) + 0.5};
    for (const char op : {'+', '-', '*', '/', '>', '<'}) {
      const test::TensorFunction f = [op](const auto& x) { return apply(op, x[0], x[1]); };
      test::gradcheck(f, inputs, std::string(c.path) + ' ' + op);
      test::check_gradients_on_gpus(f, inputs, std::string(c.path) + ' ' + op);
    }
  }
  const std::vector<Tensor> one{test::randn({4, 5}, 3)};
  test::gradcheck([](const auto& x) { return 2.5 - x[0] * 3 + 1; }, one, "numbers");
  test::gradcheck([](const auto& x) { return x[0] * x[0] - x[0] / 3; }, one, "the same tensor twice");
  test::gradcheck([](const auto& x) { return 2 / (x[0] * x[0] + 1); }, one, "a number over a tensor");
  test::gradcheck([](const auto& x) { return x[0] * x[1]; }, {test::scattered(one[0]), test::randn({5}, 1)}, "strided");
}

BOOST_AUTO_TEST_CASE(a_quotient_by_a_number_is_rounded_once) {
  for (const ratel::Device device : test::devices())
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16})
      for (int d = 1; d < 200; ++d)
        test::check_identical(ratel::full({1}, d, dtype, device) / d, ratel::ones({1}, dtype), "d / d");
  for (const ratel::Device device : test::devices())
    BOOST_TEST(std::signbit((ratel::full({1}, -0.0, DType::f32, device) / 3).item()), "-0 / 3 on " << device);
}

BOOST_AUTO_TEST_CASE(of_equal_ones_the_first_is_taken_and_nan_is_kept) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const ratel::Device device : test::devices())
    for (const auto extreme : {static_cast<Tensor (*)(const Tensor&, const Tensor&)>(ratel::maximum),
                               static_cast<Tensor (*)(const Tensor&, const Tensor&)>(ratel::minimum)}) {
      const Tensor a = requires_grad(ratel::from_vector<double>({2, 3, kNan, kNan}, {4}, DType::f32, device)),
                   b = requires_grad(ratel::from_vector<double>({2, kNan, 3, kNan}, {4}, DType::f32, device));
      const Tensor y = extreme(a, b);
      const auto values = ratel::to_vector<double>(y);
      BOOST_TEST((values[0] == 2 && std::isnan(values[1]) && std::isnan(values[2]) && std::isnan(values[3])));
      backward(sum(y));
      test::check_identical(grad(a), ratel::from_vector<float>({1, 0, 1, 1}, {4}), "a");
      test::check_identical(grad(b), ratel::from_vector<float>({0, 1, 0, 0}, {4}), "b");
    }
  const Tensor x = ratel::from_vector<double>({-3, 0.5, 7}, {3});
  test::check_identical(minimum(maximum(x, -1), 2), ratel::from_vector<double>({-1, 0.5, 2}, {3}), "within a range");
}

BOOST_AUTO_TEST_CASE(the_gradient_handed_to_both_sides_of_an_add_is_not_shared) {
  // add gives {grad, grad}: accumulating into one in place must not change the other.
  const Tensor x = requires_grad(test::randn({3}, 1)), y = requires_grad(test::randn({3}, 2));
  const Tensor s = x + y;
  backward(s + s * 2 + x, ratel::from_vector<double>({1, 1, 1}, {3}));
  test::check_close(grad(x), ratel::from_vector<double>({4, 4, 4}, {3}), 0, "x");
  test::check_close(grad(y), ratel::from_vector<double>({3, 3, 3}, {3}), 0, "y");
}

BOOST_AUTO_TEST_CASE(add_into_accumulates_across_dtypes) {
  for (const ratel::Device device : test::devices()) {
    const Tensor total = to(test::randn({5, 7}, 1, DType::f32), device),
                 x = to(test::randn({5, 7}, 2, DType::bf16), device);
    const Tensor expected = total + to(x, DType::f32);
    const auto version = total.storage()->version();
    add_into(total, x);
    test::check_identical(total, expected, "f32 += bf16");
    BOOST_TEST(total.storage()->version() == version + 1);
  }
}

BOOST_AUTO_TEST_CASE(add_into_reads_what_overlaps_as_it_was) {
  for (const ratel::Device device : test::devices())
    for (const int64_t shift : {1, 40}) {
      const Tensor all = to(test::randn({shift + 1000}, 1), device), before = clone(all);
      const auto part = [&](const Tensor& of, int64_t begin) { return slice(of, 0, begin, begin + 1000); };
      add_into(part(all, shift), part(all, 0));
      test::check_identical(part(all, shift), part(before, shift) + part(before, 0), "later");
      copy_into(all, before);
      add_into(part(all, 0), part(all, shift));
      test::check_identical(part(all, 0), part(before, 0) + part(before, shift), "earlier");
    }
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor a = test::randn({2, 3}, 1), b = test::randn({4}, 2);
  test::check_error([&] { a + b; }, "add: shapes (2, 3) and (4) do not broadcast");
  test::check_error([&] { a* to(a, DType::f32); }, "mul: expected two tensors of one float dtype, found f64 and f32");
  test::check_error([&] { to(a, DType::i64) - to(a, DType::i64); }, "sub: expected two tensors of one float dtype");
  test::check_error([&] { a / Tensor(); }, "div: an undefined tensor");
  test::check_error([&] { add_into(a, b); }, "add_into: expected shape (2, 3), found (4)");
}
