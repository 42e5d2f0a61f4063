#include "ops/rms_norm.h"

#include <cmath>
#include <limits>

#include "autograd/checkpoint.h"
#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/create.h"
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
  Shape shape;
};

// The kernel's paths: whole registers, the elements that do not fill one, rows that start between registers, several
// pieces of 16384 elements, more than 32 pieces (which the weight's gradient groups).
const Case kCases[] = {
    {"one element", {1}},
    {"one row", {1, 128}},
    {"one short of a register", {5, 15}},
    {"a register", {5, 16}},
    {"one past a register", {2, 3, 17}},
    {"rows of one element", {9, 1}},
    {"two pieces, the second short", {131, 128}},
    {"a row longer than a block", {3, 1025}},
    {"a row longer than a piece", {2, 20001}},
    {"more rows than sums are kept for", {37, 16384}},
};

test::TensorFunction op(double eps) {
  return [eps](const std::vector<Tensor>& x) { return rms_norm(x[0], x[1], eps); };
}
test::TensorFunction reference(double eps) {
  return [eps](const std::vector<Tensor>& x) { return rms_norm_reference(x[0], x[1], eps); };
}

/// Both outputs of rms_norm_residual in one tensor, each with a cotangent of its own.
test::TensorFunction both(ratel::NormAndResidual (*op)(const Tensor&, const Tensor&, double), double eps) {
  return [=](const std::vector<Tensor>& x) {
    const auto [norm, residual] = op(x[0], x[1], eps);
    return ratel::concat({norm, residual}, 0);
  };
}

}  // namespace

BOOST_AUTO_TEST_CASE(agrees_with_the_reference) {
  for (const Case& c : kCases) {
    const Tensor weight = test::randn({c.shape[-1]}, 2) * 0.3 + 1;
    // A row of one element is normalised to +-1: what gradient there is comes from eps.
    const double eps = c.shape[-1] == 1 ? 0.5 : 1e-6;
    test::check_against_reference(op(eps), reference(eps), {test::randn(c.shape, 1), weight}, c.path);
  }
  const std::vector<Tensor> inputs{test::randn({4, 33}, 1), test::randn({33}, 2)};
  test::check_against_reference(op(0.5), reference(0.5), inputs, "a large eps");
  test::check_against_reference(op(1e-6), reference(1e-6), {inputs[0] * 1e-3, inputs[1]}, "inputs the size of eps");
  test::check_against_reference(op(1e-6), reference(1e-6), {test::scattered(inputs[0]), test::scattered(inputs[1])},
                                "strided");
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (const Case& c : kCases)
    if (c.shape.numel() < 1000)
      test::gradcheck(op(1e-6), {test::randn(c.shape, 1) + 0.5, test::randn({c.shape[-1]}, 2)}, c.path);
  test::gradcheck(op(1e-2), {test::scattered(test::randn({3, 4, 5}, 3)), test::scattered(test::randn({5}, 4))},
                  "strided");
  test::gradcheck(
      [](const auto& x) {
        return broadcast_to(rms_norm(x[0], x[1]), {3, 2, 7});
      },
      {test::randn({2, 7}, 5), test::randn({7}, 6)}, "a gradient that is not contiguous");
  test::gradcheck([](const auto& x) { return rms_norm(x[0], x[0]); }, {test::randn({7}, 5)}, "the same tensor twice");
  test::gradcheck([](const auto& x) { return rms_norm(rms_norm(x[0], x[1]), x[1]); },
                  {test::randn({3, 7}, 5), test::randn({7}, 6)}, "the same weight twice");
}

BOOST_AUTO_TEST_CASE(a_norm_and_its_residual_agree_with_the_reference) {
  const auto ours = [](double eps) { return both(ratel::rms_norm_residual, eps); };
  const auto reference = [](double eps) { return both(ratel::rms_norm_residual_reference, eps); };
  for (const Case& c : kCases) {
    if (c.shape.numel() > 5000) continue;  // what is added does not depend on the row's length
    const double eps = c.shape[-1] == 1 ? 0.5 : 1e-6;
    const std::vector<Tensor> inputs{test::randn(c.shape, 1), test::randn({c.shape[-1]}, 2) * 0.3 + 1};
    test::check_against_reference(ours(eps), reference(eps), inputs, c.path);
    if (c.shape.numel() < 1000) test::gradcheck(ours(eps), {inputs[0] + 0.5, inputs[1]}, c.path);
  }
  const std::vector<Tensor> strided{test::scattered(test::randn({3, 4, 5}, 3)), test::scattered(test::randn({5}, 4))};
  test::check_against_reference(ours(1e-2), reference(1e-2), strided, "strided");
  const auto broadcast = [](const auto& x) {
    const auto [norm, residual] = rms_norm_residual(x[0], x[1]);
    return ratel::concat({broadcast_to(norm, {3, 2, 7}), broadcast_to(residual, {3, 2, 7})}, 1);
  };
  test::gradcheck(broadcast, {test::randn({2, 7}, 5), test::randn({7}, 6)}, "gradients that are not contiguous");
  const auto checkpointed = [&](const auto& x) { return checkpoint(ours(1e-6), x); };
  const std::vector<Tensor> inputs{test::randn({9, 40}, 1, DType::f32), test::randn({40}, 2, DType::f32)};
  const auto plain = test::gradients(ours(1e-6), inputs), again = test::gradients(checkpointed, inputs);
  for (const size_t i : {0, 1}) test::check_identical(again.grads[i], plain.grads[i], "recomputed");
  const std::vector<Tensor> many{test::randn({700, 130}, 1, DType::f32), test::randn({130}, 2, DType::f32)};
  for (const size_t i : {0, 1})
    test::check_thread_independent([&] { return test::gradients(ours(1e-6), many).grads[i]; }, "backward");
}

// On a GPU 390 rows are pieces of two, 195 of one each; of more than 1024 f32 a row is read twice.
BOOST_AUTO_TEST_CASE(a_rows_gradient_does_not_depend_on_its_piece) {
  for (const int64_t C : {8, 1032}) {
    const Tensor all = test::randn({390, C}, 1, DType::f32), g = test::randn({390, C}, 2, DType::f32);
    for (const ratel::Device device : test::devices()) {
      const auto gradients = [&](int64_t begin, int64_t end) {
        const Tensor x = requires_grad(detach(to(slice(all, 0, begin, end), device)));
        const Tensor weight = requires_grad(ratel::full({C}, 0.7, DType::f32, device));
        const auto [norm, residual] = rms_norm_residual(x, weight);
        backward(norm + residual * 2, to(slice(g, 0, begin, end), device));
        return std::vector<Tensor>{to(grad(x), ratel::kCpu), to(grad(weight), ratel::kCpu)};
      };
      const auto whole = gradients(0, 390), first = gradients(0, 195), second = gradients(195, 390);
      const std::string where = ratel::concat_text(" of ", C, " on ", device);
      test::check_identical(whole[0], ratel::concat({first[0], second[0]}, 0), "x" + where);
      test::check_close(whole[1], first[1] + second[1], 1e-5, "weight" + where);
    }
  }
}

BOOST_AUTO_TEST_CASE(either_output_may_go_unused) {
  const std::vector<Tensor> inputs{test::randn({9, 40}, 1, DType::f32), test::randn({40}, 2, DType::f32)};
  const auto norm_alone = [](const auto& x) { return rms_norm_residual(x[0], x[1]).norm; };
  const auto expected = test::gradients(op(1e-6), inputs), ours = test::gradients(norm_alone, inputs);
  test::check_identical(ours.out, expected.out, "the norm alone");
  for (const size_t i : {0, 1}) test::check_identical(ours.grads[i], expected.grads[i], "the norm alone, gradient");

  const Tensor x = requires_grad(inputs[0]) * 1, weight = requires_grad(inputs[1]),
               g = test::randn({9, 40}, 3, DType::f32);
  retain_grad(x);
  const auto [norm, residual] = rms_norm_residual(x, weight);
  BOOST_TEST(residual.data() == x.data());
  backward(residual, g);
  BOOST_TEST(grad(x).data() == g.data());  // not a copy
  BOOST_TEST(!grad(weight).defined());
  // The weight alone wants a gradient.
  const auto [of_plain, plain] = rms_norm_residual(detach(x), weight);
  backward(of_plain + plain, test::randn({9, 40}, 99, DType::f32));
  test::check_identical(grad(weight), expected.grads[1], "the weight alone");
  // A change of x is one of its view as well.
  const Tensor y = requires_grad(test::randn({2, 3}, 1));
  const Tensor sum = rms_norm_residual(y, ratel::ones({3}, DType::f64)).norm;
  copy_into(y, test::randn({2, 3}, 2));
  test::check_error([&] { backward(sum, ratel::ones({2, 3}, DType::f64)); }, "was changed in place");
}

BOOST_AUTO_TEST_CASE(the_gradient_of_a_bf16_weight_is_as_wide_as_its_leaf_wants) {
  const Tensor x = test::randn({64, 8}, 1, DType::bf16), leaf = requires_grad(test::randn({8}, 2, DType::bf16));
  backward(rms_norm(x, leaf), test::randn({64, 8}, 3, DType::bf16));
  BOOST_TEST(grad(leaf).dtype() == DType::f32);
  BOOST_TEST(ratel::test::relative_error(to(to(grad(leaf), DType::bf16), DType::f32), grad(leaf)) > 0);
  // What an op made takes a gradient of its own dtype, or the engine would complain.
  const Tensor made = leaf * 2;
  backward(rms_norm(x, made), test::randn({64, 8}, 3, DType::bf16));
}

BOOST_AUTO_TEST_CASE(extremes) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    auto values = std::vector<double>(40, 1.0);
    values[3] = std::numeric_limits<double>::quiet_NaN();
    for (const ratel::Device device : test::devices()) {
      const Tensor zero = ratel::zeros({2, 20}, dtype), one = ratel::ones({20}, dtype, device);
      const auto norm_of = [&](const Tensor& x) { return moved_to(rms_norm(moved_to(x, device), one), ratel::kCpu); };
      test::check_identical(norm_of(zero), zero, ratel::concat_text("a row of zeros on ", device));
      // eps is far below the squares, so that a scale drops out.
      test::check_close(norm_of(full({2, 20}, 1e15, dtype)), ratel::ones({2, 20}, dtype), 0x1p-7,
                        ratel::concat_text("large on ", device));
      const auto y = ratel::to_vector<double>(norm_of(ratel::from_vector(values, {2, 20}, dtype)));
      BOOST_TEST(std::isnan(y[0]));
      BOOST_TEST(std::isfinite(y[20]));
    }
  }
  test::check_identical(rms_norm(ratel::zeros({0, 3}), ratel::ones({3})), ratel::zeros({0, 3}), "no rows");
  const Tensor weight = requires_grad(ratel::ones({3}));
  backward(rms_norm(ratel::zeros({0, 3}), weight), ratel::zeros({0, 3}));
  test::check_identical(grad(weight), ratel::zeros({3}), "no rows, gradient");
}

BOOST_AUTO_TEST_CASE(the_number_of_threads_changes_no_bit) {
  const std::vector<Tensor> inputs{test::randn({700, 130}, 1, DType::f32), test::randn({130}, 2, DType::f32)};
  test::check_thread_independent([&] { return rms_norm(inputs[0], inputs[1]); }, "forward");
  for (const size_t i : {0, 1})
    test::check_thread_independent([&] { return test::gradients(op(1e-6), inputs).grads[i]; }, "backward");
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = test::randn({2, 3}, 1), w = test::randn({3}, 2);
  test::check_error([&] { rms_norm(x, test::randn({2}, 2)); },
                    "rms_norm: expected x (..., C) and weight (C), found (2, 3) and (2)");
  test::check_error([&] { rms_norm(x, x); }, "found (2, 3) and (2, 3)");
  test::check_error([&] { rms_norm(ratel::scalar(1, DType::f64), w); }, "found () and (3)");
  test::check_error([&] { rms_norm(x, to(w, DType::f32)); }, "one float dtype, found f64 and f32");
  test::check_error([&] { rms_norm(ratel::zeros({2, 0}), ratel::zeros({0})); }, "no mean over the last axis");
  test::check_error([&] { rms_norm(x, Tensor()); }, "rms_norm: an undefined tensor");
  test::check_error([&] { rms_norm_residual(x, x); }, "found (2, 3) and (2, 3)");
}

BOOST_AUTO_TEST_CASE(no_rows_give_no_gradient) {
  for (const ratel::Device device : test::devices()) {
    const auto found = test::gradients([](const auto& x) { return ratel::rms_norm(x[0], x[1], 1e-6); },
                                       {ratel::zeros({0, 8}), ratel::ones({8})}, {}, device);
    test::check_identical(found.grads[1], ratel::zeros({8}), ratel::concat_text("on ", device));
  }
}
