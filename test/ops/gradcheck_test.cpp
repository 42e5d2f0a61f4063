#include "ops/gradcheck.h"

#include <cmath>
#include <functional>

#include "autograd/gradient.h"
#include "autograd/node.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::DType;
using ratel::gradcheck;
using ratel::Grads;
using ratel::Needs;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

using Inputs = std::vector<Tensor>;

/// a b, with a backward that the test says: what it returns for the gradient g of the product.
using Backward = std::function<Grads(const Tensor& g, const Tensor& a, const Tensor& b, const Needs& needs)>;
auto product(const Backward& backward) {
  return [backward](const Inputs& in) {
    const Tensor a = detach(in[0]), b = detach(in[1]);
    return record(a * b, "product", in, [=](const Tensor& g, const Needs& needs) { return backward(g, a, b, needs); });
  };
}

Inputs two() { return {test::randn({2, 3}, 1), test::randn({2, 3}, 2)}; }

}  // namespace

BOOST_AUTO_TEST_CASE(right_gradients_pass_and_inputs_stay) {
  for (const ratel::Device device : test::devices()) {
    const Inputs in{to(test::randn({2, 3}, 1), device), test::scattered(to(test::randn({2, 3}, 2), device)),
                    transpose(to(test::randn({3, 2}, 3), device), 0, 1)};
    const Inputs before{clone(in[0]), clone(in[1]), clone(in[2])};
    gradcheck([](const Inputs& x) { return softmax(x[0] * x[1]) / exp(x[2]); }, in);
    for (size_t i = 0; i < in.size(); ++i) {
      test::check_identical(to(in[i], ratel::kCpu), to(before[i], ratel::kCpu), "input " + std::to_string(i));
      BOOST_TEST(!grad(in[i]).defined());
    }
  }
  // One tensor twice is two inputs, as memory that they share is copied for each.
  const Tensor x = test::randn({4}, 1);
  gradcheck([](const Inputs& in) { return in[0] * exp(in[1]); }, {x, x});
  gradcheck([](const Inputs& in) { return in[0] * exp(in[1]); }, {slice(x, 0, 0, 3), slice(x, 0, 1, 4)});
  // What wants no gradient is passed on: ids, and an argument left out.
  gradcheck(
      [](const Inputs& x) {
        BOOST_TEST((!x[0].defined() && x[2].dtype() == DType::i64));
        return x[1] * x[1];
      },
      {Tensor(), test::randn({4}, 1), ratel::arange(3)});
  gradcheck([](const Inputs& x) { return x[0] * 2; }, {ratel::empty({0, 3}, DType::f64)});
}

BOOST_AUTO_TEST_CASE(a_wrong_gradient_is_named_with_both_numbers) {
  const auto twice = product([](const Tensor& g, const Tensor& a, const Tensor& b, const Needs&) -> Grads {
    return {g * b, g * a * 2.0};  // the second twice as large as it is
  });
  test::check_error([&] { gradcheck(twice, two()); }, "gradcheck: input 1, element ");
  test::check_error([&] { gradcheck(twice, two()); }, "; 6 of 6 elements differ");
  const Tensor one = ratel::ones({1}, DType::f64);
  const auto negated = product([](const Tensor& g, const Tensor& a, const Tensor&, const Needs&) -> Grads {
    return {-g, g * a};
  });
  test::check_error([&] { gradcheck(negated, {one, one}); }, "element 0 of shape (1): the gradient is ");
  // One element of many is enough, and the furthest is shown.
  const auto spoiled = product([](const Tensor& g, const Tensor& a, const Tensor& b, const Needs&) -> Grads {
    const Tensor grad_a = g * b;
    grad_a.data<double>()[4] += 3;
    grad_a.data<double>()[5] += 0.1;
    return {grad_a, g * a};
  });
  test::check_error([&] { gradcheck(spoiled, two()); }, "gradcheck: input 0, element 4 of shape (2, 3): ");
  test::check_error([&] { gradcheck(spoiled, two()); }, "; 2 of 6 elements differ");
  const auto not_a_number = product([](const Tensor& g, const Tensor& a, const Tensor& b, const Needs&) -> Grads {
    return {g * b / 0.0 * 0.0, g * a};
  });
  test::check_error([&] { gradcheck(not_a_number, two()); }, "the gradient is ");
  test::check_error([&] { gradcheck([](const Inputs& x) { return detach(x[0]) * x[1]; }, two()); },
                    "gradcheck: input 0: no gradient arrived");
  test::check_error([&] { gradcheck([](const Inputs& x) { return detach(x[0]); }, two()); },
                    "gradcheck: input 0: no gradient arrived");
}

BOOST_AUTO_TEST_CASE(a_zero_gradient_does_not_hide_behind_a_sum) {
  // Summed over its row a softmax is 1, whatever its input: under ones, no gradient at all would look right.
  const auto none = [](const Inputs& x) {
    return record(softmax(detach(x[0])), "softmax", x,
                  [](const Tensor& g, const Needs&) -> Grads { return {zeros_like(g)}; });
  };
  test::check_error([&] { gradcheck(none, {test::randn({2, 5}, 1)}); }, "the gradient is 0, differences say ");
}

BOOST_AUTO_TEST_CASE(what_a_gradient_is_must_not_depend_on_who_else_wants_one) {
  const auto greedy = product([](const Tensor& g, const Tensor& a, const Tensor& b, const Needs& needs) -> Grads {
    return {g * b * (needs[1] ? 1.0 : 1.25), g * a};
  });
  test::check_error([&] { gradcheck(greedy, two()); }, "where no other input wants one");
  const auto forgetful = product([](const Tensor& g, const Tensor& a, const Tensor& b, const Needs& needs) -> Grads {
    return {needs[1] ? g * b : Tensor(), g * a};
  });
  test::check_error([&] { gradcheck(forgetful, two()); },
                    "gradcheck: input 0: no gradient arrived where no other input wants one");
}

BOOST_AUTO_TEST_CASE(many_elements_are_sampled) {
  int64_t calls = 0;
  const auto counted = [&](const Inputs& x) {
    ++calls;
    return x[0] * x[0];
  };
  gradcheck(counted, {test::randn({50, 50}, 1)}, {.samples = 7});
  BOOST_TEST(calls == 1 + 2 + 2 * 7);  // for the shape, two gradients, two sides of seven elements
  calls = 0;
  gradcheck(counted, {test::randn({3}, 1)}, {.samples = 7});
  BOOST_TEST(calls == 1 + 2 + 2 * 3);
}

BOOST_AUTO_TEST_CASE(the_step_and_the_tolerance_are_those_asked_for) {
  // Differences of |x| across its kink are 0.5 apart from either slope.
  const auto kinked = [](const Inputs& x) { return relu(x[0]) * 1.0; };
  const Tensor near = ratel::full({1}, 1e-4, DType::f64);
  gradcheck(kinked, {near});
  test::check_error([&] { gradcheck(kinked, {near}, {.eps = 1e-3}); }, "differences say ");
  gradcheck(kinked, {near}, {.eps = 1e-3, .rtol = 2});
  gradcheck(kinked, {near}, {.eps = 1e-3, .atol = 2});
  gradcheck(kinked, {ratel::full({2}, -1, DType::f64)}, {.atol = 0, .rtol = 0});  // 0 is 0
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const auto f = [](const Inputs& x) { return x[0] * x[0]; };
  test::check_error([&] { gradcheck(f, {test::randn({2}, 1, DType::f32)}); },
                    "gradcheck: input 0: expected f64, found f32\nhint: ");
  test::check_error([&] { gradcheck(f, {broadcast_to(test::randn({1}, 1), {3})}); },
                    "gradcheck: input 0: elements of shape (3) share their memory");
  test::check_error([&] { gradcheck(f, {}); }, "expected an input of a float dtype, found none");
  test::check_error([&] { gradcheck([](const Inputs&) { return Tensor(); }, {test::randn({2}, 1)}); },
                    "gradcheck: an undefined tensor");
  test::check_error([&] { gradcheck([](const Inputs& x) { return to(x[0], DType::f32); }, {test::randn({2}, 1)}); },
                    "gradcheck: what f returns: expected f64, found f32");
  for (const ratel::GradcheckOptions& wrong : {ratel::GradcheckOptions{.atol = -1}, {.rtol = std::nan("")}})
    test::check_error([&] { gradcheck(f, {test::randn({2}, 1)}, wrong); },
                      "atol and rtol not below, found 1e-06, 40, ");
  test::check_error([&] { gradcheck(f, {test::randn({2}, 1)}, {.eps = 0}); }, "expected eps and samples above 0");
}
