#include "autograd/checkpoint.h"

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "core/memory.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "test/support/compare.h"
#include "test/support/gradcheck.h"

using ratel::checkpoint;
using ratel::DType;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

using Function = std::function<Tensor(const std::vector<Tensor>&)>;

Tensor plain(const Function& f, const std::vector<Tensor>& inputs) { return f(inputs); }

/// A block with a parameter that only the closure knows.
Function block(const Tensor& weight) {
  return [weight](const std::vector<Tensor>& x) { return x[0] * x[0] * weight + x[0] / (x[0] * x[0] + 1); };
}

struct Result {
  Tensor out, grad_x;
  std::vector<Tensor> grad_weights;
};

template <class Apply>
Result run(Apply apply, DType dtype) {
  const Tensor x = requires_grad(test::randn({7, 5}, 1, dtype));
  std::vector<Tensor> weights;
  Tensor y = x * 1;  // blocks work on what an op made, as layers do
  for (uint64_t i = 0; i < 3; ++i) {
    weights.push_back(requires_grad(test::randn({5}, 2 + i, dtype)));
    y = apply(block(weights.back()), {y});
  }
  Result result{detach(y), {}, {}};
  backward(y, test::randn(y.shape(), 9, dtype));
  result.grad_x = grad(x);
  for (const Tensor& weight : weights) result.grad_weights.push_back(grad(weight));
  return result;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_same_bits_with_and_without) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Result expected = run(plain, dtype), ours = run(checkpoint, dtype);
    test::check_identical(ours.out, expected.out, "forward");
    test::check_identical(ours.grad_x, expected.grad_x, "gradient of the input");
    for (size_t i = 0; i < 3; ++i)
      test::check_identical(ours.grad_weights[i], expected.grad_weights[i], "gradient of a captured parameter");
  }
}

BOOST_AUTO_TEST_CASE(products_add_to_what_captured_parameters_have_gathered) {
  const auto gathered = [](auto apply, DType dtype) {
    const Tensor x = test::randn({7, 5}, 1, dtype), weight = requires_grad(test::randn({5, 5}, 2, dtype));
    const Function product = [weight](const std::vector<Tensor>& in) { return matmul_nt(in[0], weight); };
    const Function twice = [weight, product](const std::vector<Tensor>& in) {
      return matmul(product(in), in[1]) + matmul(in[0], weight);
    };
    for (int batch = 0; batch < 3; ++batch)  // what is captured is an input too
      backward(apply(twice, {apply(product, {x * 1}), weight}), test::randn({7, 5}, 3, dtype));
    return grad(weight);
  };
  for (const DType dtype : {DType::f64, DType::bf16}) {
    const Tensor expected = gathered(plain, dtype), ours = gathered(checkpoint, dtype);
    test::check_close(ours, expected, dtype == DType::bf16 ? 0x1p-7 : 1e-14, "captured parameter");
    BOOST_TEST(test::relative_error(expected, ratel::zeros_like(expected)) > 1);
  }
}

BOOST_AUTO_TEST_CASE(parameters_are_reached_though_no_input_wants_a_gradient) {
  const Tensor x = test::randn({7, 5}, 1), weight = requires_grad(test::randn({5}, 2));
  const Tensor y = checkpoint(block(weight), {x});
  BOOST_TEST(needs_grad(y));
  backward(sum(y));
  const Tensor same = requires_grad(test::randn({5}, 2));
  backward(sum(block(same)({x})));
  test::check_identical(grad(weight), grad(same), "captured");
  BOOST_TEST(!grad(x).defined());
}

BOOST_AUTO_TEST_CASE(nesting) {
  const Tensor weight = requires_grad(test::randn({5}, 2)), x = requires_grad(test::randn({7, 5}, 1));
  const Function inner = block(weight);
  const Function outer = [&](const std::vector<Tensor>& in) {
    return checkpoint(inner, {checkpoint(inner, in)}) + in[0];
  };
  backward(sum(checkpoint(outer, {x})));
  const Tensor weight2 = requires_grad(test::randn({5}, 2)), x2 = requires_grad(test::randn({7, 5}, 1));
  const Function flat = block(weight2);
  backward(sum(flat({flat({x2})}) + x2));
  test::check_close(grad(x), grad(x2), 1e-14, "input");
  test::check_close(grad(weight), grad(weight2), 1e-14, "parameter");
}

BOOST_AUTO_TEST_CASE(gradients) {
  const auto f = [](const auto& x) {
    return checkpoint([](const auto& y) { return y[0] * y[1] / (y[1] * y[1] + 1) + y[0]; }, x);
  };
  test::gradcheck(f, {test::randn({4, 3}, 1), test::randn({3}, 2)}, "checkpoint");
}

BOOST_AUTO_TEST_CASE(undefined_and_integer_inputs_pass_through) {
  const Tensor x = requires_grad(test::randn({3}, 1));
  const Tensor y = checkpoint(
      [](const auto& in) {
        BOOST_TEST(!in[1].defined());
        return in[0] * to(in[2], DType::f64);
      },
      {x, Tensor(), ratel::arange(3)});
  backward(sum(y));
  test::check_identical(grad(x), ratel::arange(3, DType::f64), "with an integer input");
}

BOOST_AUTO_TEST_CASE(nothing_is_recorded_without_gradients) {
  const ratel::NoGrad guard;
  int calls = 0;
  const Tensor y = checkpoint([&](const auto& x) { return ++calls, x[0] * 2; }, {requires_grad(test::randn({3}, 1))});
  BOOST_TEST(!needs_grad(y));
  BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE(a_kept_tape_computes_again_each_time) {
  const Tensor x = requires_grad(test::randn({3}, 1));
  int calls = 0;
  const Tensor y = sum(checkpoint([&](const auto& in) { return ++calls, in[0] * in[0]; }, {x}));
  backward(y, {}, ratel::Tape::keep);
  backward(y);
  BOOST_TEST(calls == 3);
  test::check_close(grad(x), detach(x) * 4, 1e-15, "twice 2 x");
}

BOOST_AUTO_TEST_CASE(an_input_that_changed_in_between_is_noticed) {
  const Tensor x = test::randn({5}, 1), weight = requires_grad(test::randn({5}, 2));
  const Tensor y = sum(checkpoint(block(weight), {x}));
  copy_into(x, test::randn({5}, 3));
  test::check_error([&] { backward(y); }, "backward of checkpoint: a tensor saved for backward was changed in place");
}

// What an op made before is on the tape of the running backward, which has other gradients for it.
BOOST_AUTO_TEST_CASE(captured_results_get_their_gradients_from_all_who_read_them) {
  const auto gradients = [](auto apply, ratel::Tape first_tape) {
    const Tensor x = requires_grad(test::randn({3}, 1)), weight = requires_grad(test::randn({3}, 2));
    const Tensor made = weight * weight, other = made * 3;
    const Function inner = [made](const auto& in) { return in[0] * made; };
    const Function outer = [&](const auto& in) { return apply(inner, {in[0] * other}) + apply(inner, in); };
    const Tensor y = sum(apply(outer, {x})) + sum(apply(inner, {x})) + sum(made);
    backward(y, {}, first_tape);
    if (first_tape == ratel::Tape::keep) backward(y);
    return std::vector<Tensor>{grad(x), grad(weight)};
  };
  for (const auto tape : {ratel::Tape::consume, ratel::Tape::keep}) {
    const auto expected = gradients(plain, tape), ours = gradients(checkpoint, tape);
    for (size_t i = 0; i < expected.size(); ++i) test::check_close(ours[i], expected[i], 1e-14, "captured result");
  }
}

BOOST_AUTO_TEST_CASE(a_captured_result_may_have_no_other_holder) {
  const Tensor x = requires_grad(test::randn({3}, 1)), weight = requires_grad(test::randn({3}, 2));
  const auto y = [&] {
    const Tensor made = weight * weight;
    return sum(checkpoint([made](const auto& in) { return in[0] * made; }, {x}));
  }();
  backward(y);
  test::check_close(grad(weight), 2 * detach(weight) * detach(x), 1e-15, "captured");
  // Inside another one what is captured is made anew in backward, and goes with the function that captured it.
  zero_grad(weight);
  backward(sum(checkpoint(
      [&](const auto& in) {
        const Tensor made = weight * weight;
        return checkpoint([made](const auto& inner) { return inner[0] * made; }, in);
      },
      {x})));
  test::check_close(grad(weight), 2 * detach(weight) * detach(x), 1e-15, "captured inside");
}

BOOST_AUTO_TEST_CASE(long_chains_of_captures_need_no_deep_stack) {
  Tensor y = requires_grad(ratel::ones({1})) * 1;
  for (int i = 0; i < 200000; ++i) y = checkpoint([before = y](const auto&) { return before * 1; }, {Tensor()});
  y = {};
}

BOOST_AUTO_TEST_CASE(random_numbers_are_the_same_in_every_run) {
  const Tensor x = requires_grad(ratel::ones({64}));
  const Tensor y = checkpoint(
      [rng = ratel::Rng(1)](const auto& in) mutable { return in[0] * ratel::random_uniform({64}, rng); }, {x});
  backward(sum(y), {}, ratel::Tape::keep);
  test::check_identical(grad(x), detach(y), "a factor that is drawn");
  zero_grad(x);
  backward(sum(y));
  test::check_identical(grad(x), detach(y), "and again");

  // One function in several checkpoints draws the same in each; inside another one, and without a tape, too.
  const Function drawing = [rng = ratel::Rng(1)](const auto& in) mutable {
    return in[0] * ratel::random_uniform({64}, rng);
  };
  const Function twice = [&](const auto& in) { return checkpoint(drawing, in) + 2 * checkpoint(drawing, in); };
  zero_grad(x);
  const Tensor z = checkpoint(twice, {x});
  backward(sum(z));
  test::check_identical(grad(x), detach(z), "nested");
  const ratel::NoGrad no_grad;
  test::check_identical(checkpoint(drawing, {x}), checkpoint(drawing, {x}), "without a tape");
}

BOOST_AUTO_TEST_CASE(it_holds_less_memory) {
  const auto peak = [](auto apply) {
    const Tensor x = requires_grad(ratel::full({10000}, 0.5));
    const Function deep = [](const std::vector<Tensor>& in) {
      Tensor y = in[0];
      for (int i = 0; i < 8; ++i) y = y * y + 0.1;
      return y;
    };
    ratel::reset_peak_memory();
    const auto before = ratel::memory_use().live;
    Tensor y = x;
    for (int i = 0; i < 8; ++i) y = apply(deep, {y});
    backward(sum(y));
    return ratel::memory_use().peak - before;
  };
  // 64 saved tensors against 8 blocks' inputs and one block's 8.
  const auto all = peak(plain), some = peak(checkpoint);
  BOOST_TEST(all >= 64 * 40000);
  BOOST_TEST(some <= 24 * 40000);
}
