#include "ops/view.h"

#include <limits>

#include "autograd/gradient.h"
#include "autograd/node.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "test/support/compare.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::Grads;
using ratel::Needs;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

std::vector<int> values(const Tensor& x) { return ratel::to_vector<int>(x); }
Tensor counted(const Shape& shape) { return reshape(ratel::arange(shape.numel()), shape); }
bool shares(const Tensor& a, const Tensor& b) { return a.storage() == b.storage(); }

}  // namespace

BOOST_AUTO_TEST_CASE(reshape_views_where_it_can_and_copies_where_it_must) {
  const Tensor x = counted({2, 6});
  BOOST_TEST(shares(reshape(x, {3, 4}), x));
  BOOST_TEST(reshape(x, {3, -1}).shape() == (Shape{3, 4}));
  BOOST_TEST(reshape(x, {-1}).shape() == Shape{12});
  BOOST_TEST(reshape(counted({1}), Shape{}).rank() == 0);
  BOOST_TEST(reshape(counted({0, 3}), {-1, 3}).shape() == (Shape{0, 3}));
  const Tensor turned = transpose(x, 0, 1);
  BOOST_TEST(shares(reshape(turned, {3, 2, 2}), x));
  BOOST_TEST(values(reshape(turned, {3, 2, 2})) == values(turned));
  BOOST_TEST(!shares(reshape(turned, {12}), x));
  BOOST_TEST(values(reshape(turned, {12})) == (std::vector<int>{0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11}));
  test::check_error([&] { reshape(x, {5}); }, "reshape: shape (2, 6) has 12 elements, (5) has 5");
  test::check_error([&] { reshape(x, {5, -1}); }, "reshape: shape (2, 6) of 12 elements does not fit");
  test::check_error([&] { reshape(x, {-1, -1}); }, "reshape: at most one size may be -1");
  test::check_error([&] { reshape(x, {0, -1}); }, "does not fit");
  test::check_error([&] { reshape(x, {-2, 6}); }, "-2");
}

BOOST_AUTO_TEST_CASE(transpose_exchanges_axes) {
  const Tensor x = counted({2, 3, 2});
  BOOST_TEST(values(transpose(x, 0, 2)) == (std::vector<int>{0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11}));
  BOOST_TEST(values(transpose(x, -1, -3)) == values(transpose(x, 0, 2)));
  BOOST_TEST(values(transpose(x, 1, 1)) == values(x));
  BOOST_TEST(shares(transpose(x, 0, 1), x));
  test::check_error([&] { transpose(x, 0, 3); }, "transpose: axis 3 does not exist in shape ");
}

BOOST_AUTO_TEST_CASE(slice_takes_ranges_and_steps) {
  const Tensor x = counted({3, 4});
  BOOST_TEST(values(slice(x, 1, 1, 3)) == (std::vector<int>{1, 2, 5, 6, 9, 10}));
  BOOST_TEST(values(slice(x, 1, 0, -1)) == (std::vector<int>{0, 1, 2, 4, 5, 6, 8, 9, 10}));
  BOOST_TEST(values(slice(x, 1, -1)) == (std::vector<int>{3, 7, 11}));
  BOOST_TEST(values(slice(x, 1, -3, -1)) == (std::vector<int>{1, 2, 5, 6, 9, 10}));
  BOOST_TEST(values(slice(x, 1, 2)) == (std::vector<int>{2, 3, 6, 7, 10, 11}));
  BOOST_TEST(values(slice(x, -1, 1, 4, 2)) == (std::vector<int>{1, 3, 5, 7, 9, 11}));
  BOOST_TEST(values(slice(x, -1, 0, 4, 3)) == (std::vector<int>{0, 3, 4, 7, 8, 11}));
  BOOST_TEST(values(slice(slice(x, 0, 1, 3), 1, 0, 4, 2)) == (std::vector<int>{4, 6, 8, 10}));
  BOOST_TEST(slice(x, 0, 3, 3).shape() == (Shape{0, 4}));
  constexpr int64_t kLongest = std::numeric_limits<int64_t>::max();
  BOOST_TEST(values(slice(x, 1, 0, 4, kLongest)) == (std::vector<int>{0, 4, 8}));
  BOOST_TEST(values(slice(x, 0, 1, 3, kLongest - 1)) == (std::vector<int>{4, 5, 6, 7}));
  BOOST_TEST(slice(x, 0, 1, 1, kLongest).shape() == (Shape{0, 4}));
  BOOST_TEST(shares(slice(x, 0, 1, 2), x));
  test::check_error([&] { slice(x, 0, 0, 4); }, "slice: range [0, 4) does not fit axis 0 of size 3");
  test::check_error([&] { slice(x, 0, -4, 2); }, "slice: range [-4, 2)");
  test::check_error([&] { slice(x, 0, 0, -4); }, "slice: range [0, -4)");
  test::check_error([&] { slice(x, 0, 4); }, "slice: range [4, 3) does not fit axis 0 of size 3");
  test::check_error([&] { slice(x, 2, 0, 1); }, "slice: axis 2 does not exist in shape ");
}

BOOST_AUTO_TEST_CASE(split_gives_equal_parts) {
  const auto parts = split(counted({2, 6}), 1, 3);
  BOOST_TEST(parts.size() == 3U);
  BOOST_TEST(values(parts[1]) == (std::vector<int>{2, 3, 8, 9}));
  test::check_error([&] { split(counted({2, 6}), 1, 4); }, "split: axis 1 of shape (2, 6) does not divide into 4");
  test::check_error([&] { split(counted({2, 6}), 2, 1); }, "split: axis 2 does not exist in shape (2, 6)");
  test::check_error([&] { split(counted({2, 6}), 1, 0); }, "does not divide into 0");
}

BOOST_AUTO_TEST_CASE(broadcast_to_stretches) {
  const Tensor x = counted({2, 1});
  BOOST_TEST(values(broadcast_to(x, {2, 2, 3})) == (std::vector<int>{0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1}));
  BOOST_TEST(shares(broadcast_to(x, {2, 2, 3}), x));
  BOOST_TEST(broadcast_to(x, {2, 0}).numel() == 0);
  test::check_error([&] { broadcast_to(x, {3, 3}); }, "broadcast_to: shapes (2, 1) and (3, 3) do not broadcast");
  test::check_error([&] { broadcast_to(x, {2}); }, "broadcast_to: shape (2, 1) does not broadcast to (2)");
}

BOOST_AUTO_TEST_CASE(gradients) {
  const std::vector<Tensor> x{test::randn({4, 6}, 1)};
  test::gradcheck([](const auto& in) { return reshape(in[0], {3, 8}); }, x, "reshape");
  test::gradcheck([](const auto& in) { return reshape(transpose(in[0], 0, 1), {24}); }, x, "reshape with a copy");
  test::gradcheck([](const auto& in) { return transpose(in[0], 0, 1); }, x, "transpose");
  test::gradcheck([](const auto& in) { return slice(in[0], 1, 1, -1, 2); }, x, "slice");
  test::gradcheck([](const auto& in) { return slice(in[0], 0, 2, 2); }, x, "an empty slice");
  test::gradcheck([](const auto& in) { return broadcast_to(slice(in[0], 0, 1, 2), {3, 2, 6}); }, x, "broadcast_to");
  test::gradcheck([](const auto& in) { return broadcast_to(in[0], {4, 6}); }, x, "stretched by nothing");
  test::gradcheck(
      [](const auto& in) {
        const auto parts = split(in[0], 1, 3);
        return parts[0] * parts[2] + parts[1] * parts[1];
      },
      x, "split");
  test::gradcheck([](const auto& in) { return transpose(slice(in[0], 1, 0, 3), 0, 1); }, {test::scattered(x[0])},
                  "views of strided");
}

BOOST_AUTO_TEST_CASE(views_of_a_leaf_are_on_the_tape_and_keep_the_dtype) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor x = requires_grad(test::randn({4, 6}, 1, dtype));
    const Tensor part = slice(x, 1, 2, 4);
    BOOST_TEST(!is_leaf(part));
    test::check_error([&] { copy_into(part, ratel::zeros({4, 2})); }, "was made by an op");
    backward(part, ratel::ones({4, 2}, dtype));
    const Tensor expected = ratel::zeros({4, 6});
    copy_into(slice(expected, 1, 2, 4), ratel::ones({4, 2}));
    test::check_identical(grad(x), expected, "the gradient of a slice");
  }
}

// Their gradients are added up in one tensor, where what a slice is zero in is not touched.
BOOST_AUTO_TEST_CASE(many_slices_of_one_tensor_share_one_gradient) {
  constexpr int64_t kTokens = 64, kChannels = 100;
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16})
    for (const bool made_by_an_op : {false, true}) {
      const Tensor x = requires_grad(test::randn({2, kTokens, kChannels}, 1, dtype)), y = made_by_an_op ? x * 1 : x;
      // Recorded first, it is visited last: when all slices have been.
      Tensor before;
      const Tensor first = record(clone(detach(y)), "first", {y}, [&](const Tensor& grad, const Needs& needs) -> Grads {
        before = clone(detach(needs.sum_so_far(0)));
        return {ratel::zeros_like(grad)};
      });
      Tensor total = ratel::zeros({2, 1, kChannels}, dtype);
      for (int64_t t = 0; t < kTokens; ++t) total = total + slice(y, 1, t, t + 1) * static_cast<double>(t);
      backward(sum(total) + sum(slice(y, 2, 10, 90, 4)) + sum(first));
      std::vector<double> expected;
      for (int64_t i = 0; i < x.numel(); ++i) {
        const int64_t channel = i % kChannels;
        expected.push_back(static_cast<double>(i / kChannels % kTokens) +
                           (channel >= 10 && channel < 90 && channel % 4 == 2 ? 1 : 0));
      }
      test::check_close(grad(x), ratel::from_vector(expected, x.shape()), 0, "gradient");
      test::check_close(before, ratel::from_vector(expected, x.shape()), 0, "as the last one finds it");
    }
}
