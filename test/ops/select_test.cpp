#include "ops/select.h"

#include <limits>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
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

constexpr DType kAll[] = {DType::f64, DType::f32, DType::bf16, DType::i64, DType::i32, DType::u16, DType::u8};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Case {
  const char* path;
  Shape condition, a, b;
};

// One contiguous run; several pieces of it; operands that stretch along rows and over them; nothing.
const Case kCases[] = {
    {"one element", {1}, {1}, {1}},           {"rank 0", {}, {}, {}},
    {"contiguous", {3, 5}, {3, 5}, {3, 5}},   {"several pieces", {3, 20000}, {3, 20000}, {3, 20000}},
    {"a number for b", {7, 33}, {7, 33}, {}}, {"stretched three ways", {5, 1, 4}, {3, 1}, {4}},
    {"empty", {0, 3}, {3}, {0, 1}},
};

/// Small numbers, so that equal ones are many.
Tensor digits(const Shape& shape, uint64_t seed, DType dtype) {
  ratel::Rng rng(seed);
  return to(ratel::random_integers(shape, rng, 4), dtype);
}

Tensor stretched(const Tensor& x, const Shape& shape) { return view_of(x, x.layout().broadcast_to(shape, "test")); }

}  // namespace

BOOST_AUTO_TEST_CASE(comparisons_equal_their_definition_in_every_dtype_and_layout) {
  struct Comparison {
    const char* name;
    Tensor (*op)(const Tensor&, const Tensor&);
    bool (*holds)(double, double);
  };
  const Comparison all[] = {
      {"equal", ratel::equal, [](double a, double b) { return a == b; }},
      {"less", ratel::less, [](double a, double b) { return a < b; }},
      {"less_equal", ratel::less_equal, [](double a, double b) { return a <= b; }},
  };
  for (const Case& c : kCases)
    for (const DType dtype : kAll) {
      const Tensor a = digits(c.a, 1, dtype), b = digits(c.b, 2, dtype);
      const Shape shape = broadcast_shapes(c.a, c.b, "test");
      const auto x = ratel::to_vector<double>(stretched(a, shape)), y = ratel::to_vector<double>(stretched(b, shape));
      for (const auto& [name, op, holds] : all) {
        std::vector<uint8_t> values;
        for (size_t i = 0; i < x.size(); ++i) values.push_back(holds(x[i], y[i]) ? 1 : 0);
        const Tensor expected = ratel::from_vector(values, shape);
        for (const ratel::Device device : test::devices()) {
          const std::string what = ratel::concat_text(name, ", ", c.path, ", ", dtype, " on ", device);
          test::check_identical(op(to(a, device), to(b, device)), expected, what);
          test::check_identical(op(test::scattered(to(a, device)), test::scattered(to(b, device))), expected, what);
        }
      }
    }
}

BOOST_AUTO_TEST_CASE(large_integers_are_compared_as_they_are) {
  const int64_t large = (int64_t{1} << 53) + 1;  // which f64 does not hold
  for (const ratel::Device device : test::devices()) {
    const Tensor a = ratel::from_vector<int64_t>({large, large - 1}, {2}, DType::i64, device),
                 b = ratel::from_vector<int64_t>({large - 1, large}, {2}, DType::i64, device);
    test::check_identical(less(a, b), ratel::from_vector<uint8_t>({0, 1}, {2}), "less");
    test::check_identical(equal(a, b), ratel::from_vector<uint8_t>({0, 0}, {2}), "equal");
  }
}

BOOST_AUTO_TEST_CASE(nothing_holds_of_nan) {
  for (const ratel::Device device : test::devices())
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      const Tensor x = ratel::from_vector<double>({kNan, 1}, {2}, dtype, device);
      const Tensor no = ratel::zeros({2}, DType::u8), second = ratel::from_vector<uint8_t>({0, 1}, {2});
      test::check_identical(equal(x, x), second, "equal");
      test::check_identical(less_equal(x, x), second, "less_equal");
      test::check_identical(less(x, kNan), no, "less");
      test::check_identical(less(x, 2), second, "less than a number");
    }
}

BOOST_AUTO_TEST_CASE(where_takes_one_or_the_other_in_every_dtype_and_layout) {
  for (const Case& c : kCases)
    for (const DType dtype : kAll) {
      const Tensor condition = digits(c.condition, 3, DType::u8), a = digits(c.a, 1, dtype), b = digits(c.b, 2, dtype);
      const Shape shape = broadcast_shapes(c.condition, broadcast_shapes(c.a, c.b, "test"), "test");
      const auto is_a = ratel::to_vector<double>(stretched(condition, shape)),
                 x = ratel::to_vector<double>(stretched(a, shape)), y = ratel::to_vector<double>(stretched(b, shape));
      std::vector<double> values;
      for (size_t i = 0; i < x.size(); ++i) values.push_back(is_a[i] != 0 ? x[i] : y[i]);
      const Tensor expected = ratel::from_vector(values, shape, dtype);
      for (const ratel::Device device : test::devices()) {
        const std::string what = ratel::concat_text(c.path, ", ", dtype, " on ", device);
        const Tensor on[] = {to(condition, device), to(a, device), to(b, device)};
        test::check_identical(where(on[0], on[1], on[2]), expected, what);
        test::check_identical(where(test::scattered(on[0]), test::scattered(on[1]), test::scattered(on[2])), expected,
                              what + ", strided");
      }
    }
}

BOOST_AUTO_TEST_CASE(numbers_in_place_of_tensors) {
  for (const ratel::Device device : test::devices()) {
    const Tensor x = ratel::from_vector<double>({-1, 2, 3}, {3}, DType::bf16, device), is_low = less(x, 2.5);
    test::check_identical(where(is_low, x, 0.5), ratel::from_vector<double>({-1, 2, 0.5}, {3}, DType::bf16), "for b");
    test::check_identical(where(is_low, 0.5, x), ratel::from_vector<double>({0.5, 0.5, 3}, {3}, DType::bf16), "for a");
    const Tensor i = to(x, DType::i64);
    test::check_identical(where(equal(i, 2), 7, i), ratel::from_vector<int64_t>({-1, 7, 3}, {3}), "integers");
  }
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (const Case& c : kCases) {
    if (c.a.numel() > 1000) continue;
    const Tensor condition = digits(c.condition, 3, DType::u8);
    const test::TensorFunction f = [condition](const auto& x) {
      return where(to(condition, x[0].device()), x[0] * x[0], x[1]);
    };
    const std::vector<Tensor> inputs{test::randn(c.a, 1), test::randn(c.b, 2)};
    test::gradcheck(f, inputs, c.path);
    test::check_gradients_on_gpus(f, inputs, c.path);
  }
}

BOOST_AUTO_TEST_CASE(what_is_not_taken_has_no_part_in_the_gradient) {
  for (const ratel::Device device : test::devices()) {
    const Tensor x = requires_grad(ratel::from_vector<double>({kNan, 2}, {2}, DType::f32, device));
    const Tensor numbers = where(equal(x, x), x, ratel::zeros({}, DType::f32, device));
    backward(sum(numbers * numbers));
    test::check_identical(grad(x), ratel::from_vector<float>({0, 4}, {2}), "the square of what is a number");
  }
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = ratel::ones({3}), y = ratel::ones({2}), i = ratel::arange(3);
  test::check_error([&] { less(x, i); }, "less: expected two tensors of one dtype, found f32 and i64");
  test::check_error([&] { equal(x, y); }, "equal: shapes (3) and (2) do not broadcast");
  test::check_error([&] { where(x, x, x); }, "where: expected a condition of u8, found f32");
  test::check_error([&] { where(less(x, 0), x, y); }, "where: shapes (3) and (2) do not broadcast");
  test::check_error([&] { where(less(y, 0), x, x); }, "where: shapes (2) and (3) do not broadcast");
  test::check_error([&] { where(Tensor(), x, x); }, "where: an undefined tensor");
  test::check_error([&] { less(i, 0.5); }, "less: i64 does not hold 0.5");
  test::check_error([&] { equal(i, kNan); }, "equal: i64 does not hold nan");
  test::check_error([&] { less_equal(to(i, DType::u8), 256); }, "less_equal: u8 does not hold 256");
  test::check_error([&] { where(less(x, 0), i, -0.5); }, "where: i64 does not hold -0.5");
}
