#include "ops/rope.h"

#include <cmath>

#include "ops/arithmetic.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

struct Case {
  const char* path;
  Shape shape;
  int64_t position;
};

// The kernel's paths: halves of whole registers and what does not fill one, one row or several for a table of angles,
// several pieces of 16384 elements; a position inside the table of the case before, and beyond it.
const Case kCases[] = {
    {"one pair", {1, 2}, 0},
    {"one token, as in decoding", {2, 3, 1, 8}, 11},
    {"half a register and a bit", {3, 5, 18}, 0},
    {"halves of one register", {2, 7, 32}, 0},
    {"the same, further on", {2, 7, 32}, 3},
    {"halves of one past a register", {7, 34}, 0},
    {"two pieces, the second short", {3, 70, 128}, 1},
    {"a row longer than a piece", {2, 20002}, 5},
};

test::TensorFunction op(int64_t position, double base = 10000) {
  return [=](const std::vector<Tensor>& x) { return rope(x[0], position, base); };
}
test::TensorFunction reference(int64_t position, double base = 10000) {
  return [=](const std::vector<Tensor>& x) { return rope_reference(x[0], position, base); };
}

}  // namespace

BOOST_AUTO_TEST_CASE(agrees_with_the_reference) {
  for (const Case& c : kCases)
    test::check_against_reference(op(c.position), reference(c.position), {test::randn(c.shape, 1)}, c.path, 1e-14);
  const Tensor x = test::randn({2, 5, 6}, 2);
  test::check_against_reference(op(4, 500), reference(4, 500), {x}, "another base", 1e-14);
  test::check_against_reference(op(4), reference(4), {test::scattered(x)}, "strided", 1e-14);
  test::check_against_reference(op(1 << 20), reference(1 << 20), {x}, "a far position", 1e-14);
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (const Case& c : kCases)
    if (c.shape.numel() < 1000) test::gradcheck(op(c.position), {test::randn(c.shape, 3)}, c.path);
  test::gradcheck(op(2), {test::scattered(test::randn({2, 3, 4}, 4))}, "strided");
  test::gradcheck([](const auto& x) { return rope(x[0], 1) * rope(x[0], 5); }, {test::randn({3, 4}, 5)}, "twice");
  test::gradcheck(
      [](const auto& x) {
        return broadcast_to(rope(x[0], 1), {2, 3, 4});
      },
      {test::randn({3, 4}, 6)}, "a gradient that is not contiguous");
}

BOOST_AUTO_TEST_CASE(the_halves_turn_by_the_angle) {
  // One pair of ones at position 1, angle 1: (cos 1 - sin 1, cos 1 + sin 1).
  const Tensor y = rope(ratel::ones({1, 2}, DType::f64), 1);
  const std::vector<double> expected{std::cos(1.0) - std::sin(1.0), std::cos(1.0) + std::sin(1.0)};
  test::check_close(y, ratel::from_vector(expected, {1, 2}), 1e-15, "definition");
  const Tensor x = test::randn({2, 9, 6}, 1);
  test::check_identical(rope(slice(x, 1, 0, 1)), contiguous(slice(x, 1, 0, 1)), "position 0 does not turn");
  test::check_close(sum(rope(x, 7) * rope(x, 7), {-1}), sum(x * x, {-1}), 1e-14, "lengths stay");
  // What attention relies on: a product of two tokens depends on their distance alone.
  const Tensor q = test::randn({1, 8}, 2), k = test::randn({1, 8}, 3);
  test::check_close(sum(rope(q, 1007) * rope(k, 1000)), sum(rope(q, 7) * rope(k, 0)), 1e-12, "distance");
}

BOOST_AUTO_TEST_CASE(a_token_gets_the_same_bits_in_any_company) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensor x = test::randn({3, 20, 10}, 1, dtype), all = rope(x, 5);
    std::vector<Tensor> tokens;
    for (int64_t t = 0; t < 20; ++t) tokens.push_back(rope(slice(x, 1, t, t + 1), 5 + t));
    test::check_identical(concat(tokens, 1), all, "token by token");
    test::check_identical(rope(test::scattered(x), 5), all, "strided");
  }
}

BOOST_AUTO_TEST_CASE(a_token_is_turned_alike_whatever_positions_were_asked_for_before) {
  // 256 positions and more a table: growing, beginning anew elsewhere, and back.
  const Tensor x = test::randn({700, 6}, 1);
  const Tensor all = rope(x);
  for (const int64_t first : {0, 255, 256, 257, 511, 640, 3})
    for (const int64_t count : {1, 5, 60}) {
      const Tensor part = slice(x, 0, first, first + count);
      test::check_identical(rope(part, first), contiguous(slice(all, 0, first, first + count)), "a part");
    }
  // Positions may begin before 0; what counts for attention is their difference.
  test::check_close(rope(x, -5), rope_reference(x, -5), 1e-13, "negative positions");
}

BOOST_AUTO_TEST_CASE(the_number_of_threads_changes_no_bit) {
  const Tensor x = test::randn({4, 300, 64}, 1, DType::f32);
  test::check_thread_independent([&] { return rope(x, 3, 9999); }, "forward");
  test::check_thread_independent([&] { return test::gradients(op(3), {x}).grads[0]; }, "backward");
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  test::check_error(
      [] {
        rope(ratel::zeros({3, 5}));
      },
      "rope: expected (..., T, d) with an even d, found shape (3, 5)");
  test::check_error([] { rope(Tensor()); }, "rope: an undefined tensor");
  test::check_error([] { rope(ratel::zeros({4})); }, "found shape (4)");
  test::check_error([] { rope(ratel::zeros({3, 4}, DType::i64)); }, "rope: expected a float dtype, found i64");
  BOOST_TEST(rope(ratel::zeros({2, 0, 4})).numel() == 0);
}
