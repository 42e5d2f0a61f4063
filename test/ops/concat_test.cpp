#include "ops/concat.h"

#include "autograd/gradient.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/gradcheck.h"

using ratel::concat;
using ratel::DType;
using ratel::Shape;
using ratel::stack;
using ratel::Tensor;
namespace test = ratel::test;

void check_parts_are_found_again(ratel::Device device) {
  for (const DType dtype : {DType::f64, DType::bf16, DType::i64, DType::u8})
    for (int axis = -3; axis < 3; ++axis) {
      std::vector<Tensor> parts;
      for (const int64_t size : {2, 0, 1, 5}) {
        Shape shape{2, 3, 4};
        shape.set(axis, size);
        ratel::Rng rng(1);
        const Tensor part = to(to(ratel::random_integers(shape, rng, 100), dtype), device);
        parts.push_back(size == 1 ? test::scattered(part) : part);
      }
      const Tensor whole = concat(parts, axis);
      BOOST_TEST(whole.dim(axis) == 8);
      BOOST_TEST(whole.is_contiguous());
      int64_t begin = 0;
      for (const Tensor& part : parts) {
        test::check_identical(slice(whole, axis, begin, begin + part.dim(axis)), part, "a part");
        begin += part.dim(axis);
      }
    }
}

BOOST_AUTO_TEST_CASE(every_part_is_found_again) {
  for (const ratel::Device device : test::devices()) check_parts_are_found_again(device);
  const Tensor x = test::randn({3}, 1);
  test::check_identical(concat({x}, 0), x, "one part");
  BOOST_TEST((concat({x}, 0).storage() != x.storage()));
}

BOOST_AUTO_TEST_CASE(stack_makes_an_axis) {
  const std::vector<Tensor> parts{test::randn({2, 3}, 1), test::randn({2, 3}, 2), test::randn({2, 3}, 3)};
  const Shape shapes[] = {{3, 2, 3}, {2, 3, 3}, {2, 3, 3}};
  for (int axis = 0; axis < 3; ++axis) {
    const Tensor whole = stack(parts, axis);
    BOOST_TEST(whole.shape() == shapes[axis]);
    test::check_identical(stack(parts, axis - 3), whole, "counted from the end");
    for (int64_t i = 0; i < 3; ++i)
      test::check_identical(reshape(slice(whole, axis, i, i + 1), {2, 3}), parts[static_cast<size_t>(i)], "a part");
  }
  BOOST_TEST(stack({ratel::scalar(1), ratel::scalar(2)}, 0).shape() == Shape{2});
}

BOOST_AUTO_TEST_CASE(gradients) {
  const std::vector<Tensor> x{test::randn({2, 3}, 1), test::randn({2, 1}, 2), test::scattered(test::randn({2, 2}, 3))};
  test::gradcheck([](const auto& in) { return concat({in[0], in[1], in[2]}, 1); }, x, "concat");
  test::gradcheck([](const auto& in) { return concat({in[0], in[0]}, 0); }, {x[0]}, "the same part twice");
  test::gradcheck(
      [](const auto& in) {
        return stack({in[0], in[1], in[0]}, 1);
      },
      {test::randn({2, 3}, 1), test::randn({2, 3}, 2)}, "stack");
  BOOST_TEST(!ratel::needs_grad(concat({ratel::arange(2), ratel::arange(3)}, 0)));
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = test::randn({2, 3}, 1);
  test::check_error([&] { concat({}, 0); }, "concat: expected at least one tensor");
  test::check_error([&] { stack({}, 0); }, "stack: expected at least one tensor");
  test::check_error([&] { concat({x, test::randn({3, 3}, 1)}, 1); }, "concat: shapes (2, 3) and (3, 3) differ");
  test::check_error([&] { concat({x, test::randn({2, 3, 1}, 1)}, 1); }, "concat: shapes (2, 3) and (2, 3, 1) differ");
  test::check_error([&] { concat({x, to(x, DType::f32)}, 1); }, "concat: dtypes f64 and f32 differ");
  test::check_error([&] { concat({x}, 2); }, "concat: axis 2 does not exist in shape ");
  test::check_error([&] { stack({x, test::randn({2, 2}, 1)}, 0); }, "stack: shapes (2, 3) and (2, 2) differ");
  test::check_error([&] { stack({x}, 3); }, "stack: axis 3 does not exist in a result of rank 3");
}
