#include "ops/adamw.h"

#include <array>
#include <cmath>
#include <limits>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::AdamWStep;
using ratel::DType;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

struct State {
  Tensor parameter, m, v;
};

State state_of(const ratel::Shape& shape, DType dtype) {
  return {test::randn(shape, 1, dtype), ratel::zeros(shape, dtype), ratel::zeros(shape, dtype)};
}

/// The formulas of the header, one number at a time.
void plain_step(std::vector<double>& p, const std::vector<double>& grad, std::vector<double>& m, std::vector<double>& v,
                const AdamWStep& s) {
  for (size_t i = 0; i < p.size(); ++i) {
    const double g = s.grad_scale * grad[i];
    p[i] *= 1 - s.rate * s.decay;
    m[i] = s.beta1 * m[i] + (1 - s.beta1) * g;
    v[i] = s.beta2 * v[i] + (1 - s.beta2) * g * g;
    const auto count = static_cast<double>(s.step);
    const double size = s.rate / (1 - std::pow(s.beta1, count)), root = std::sqrt(1 - std::pow(s.beta2, count));
    p[i] -= size * m[i] / (std::sqrt(v[i]) / root + s.eps);
  }
}

Tensor ones2() { return ratel::ones({2}, DType::f64); }

}  // namespace

BOOST_AUTO_TEST_CASE(equals_its_formulas_over_many_steps) {
  // Lanes and a rest; 2^14 elements are one task.
  for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{17}, (int64_t{1} << 14) + 3})
    for (const DType dtype : {DType::f64, DType::f32}) {
      const State s = state_of({n}, dtype);
      auto p = ratel::to_vector<double>(s.parameter), m = ratel::to_vector<double>(s.m), v = m;
      for (int64_t step = 1; step <= 20; ++step) {
        const Tensor grad = test::randn({n}, 10 + static_cast<uint64_t>(step), dtype);
        const AdamWStep settings{1e-2, 0.9, 0.95, 1e-8, 0.1, step, 0.5};
        adamw(s.parameter, grad, s.m, s.v, settings);
        plain_step(p, ratel::to_vector<double>(grad), m, v, settings);
      }
      const double tolerance = dtype == DType::f64 ? 1e-14 : 2e-6;
      test::check_close(s.parameter, ratel::from_vector(p, {n}), tolerance, "parameter");
      test::check_close(s.m, ratel::from_vector(m, {n}), tolerance, "m");
      test::check_close(s.v, ratel::from_vector(v, {n}), tolerance, "v");
    }
}

BOOST_AUTO_TEST_CASE(the_steps_of_torch_optim_adamw) {
  // torch.optim.AdamW([p], lr=0.1, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.2) in float64, three steps.
  const Tensor p = ratel::from_vector<double>({1, -2, 0.5}, {3});
  const Tensor m = ratel::zeros({3}, DType::f64), v = ratel::zeros({3}, DType::f64);
  const std::vector<double> grads[] = {{0.3, -0.1, 2}, {-0.2, 0.05, 1}, {0.7, 0, -1.5}};
  for (int64_t step = 1; step <= 3; ++step)
    adamw(p, ratel::from_vector(grads[step - 1], {3}), m, v, {0.1, 0.9, 0.99, 1e-3, 0.2, step});
  test::check_close(p, ratel::from_vector<double>({0.7697537378818466, -1.7411389330941234, 0.25895875431725063}, {3}),
                    1e-15, "parameter");
}

BOOST_AUTO_TEST_CASE(the_first_step_has_the_size_of_the_rate) {
  // Bias correction: whatever the gradient's scale, m / sqrt(v) is its sign.
  for (const double scale : {1e-3, 1.0, 1e6}) {
    const Tensor p = ratel::zeros({2}, DType::f64), grad = ratel::from_vector<double>({scale, -scale}, {2});
    adamw(p, grad, ratel::zeros({2}, DType::f64), ratel::zeros({2}, DType::f64), {0.1, 0.9, 0.95, 0, 0, 1});
    test::check_close(p, ratel::from_vector<double>({-0.1, 0.1}, {2}), 1e-15, "first step");
  }
}

BOOST_AUTO_TEST_CASE(decay_does_not_pass_through_the_moments) {
  const Tensor p = ratel::ones({3}, DType::f64), zero = ratel::zeros({3}, DType::f64);
  const Tensor m = ratel::zeros({3}, DType::f64), v = ratel::zeros({3}, DType::f64);
  adamw(p, zero, m, v, {0.1, 0.9, 0.95, 1e-8, 0.5, 1});
  test::check_close(p, ratel::full({3}, 0.95, DType::f64), 1e-16, "decayed");
  test::check_identical(m, zero, "m");
  test::check_identical(v, zero, "v");
}

BOOST_AUTO_TEST_CASE(it_counts_as_a_change_and_is_deterministic) {
  const State s = state_of({5}, DType::f32);
  std::array<uint64_t, 3> before{};
  const std::array<Tensor, 3> changed{s.parameter, s.m, s.v};
  for (size_t i = 0; i < 3; ++i) before[i] = changed[i].storage()->version();
  adamw(requires_grad(s.parameter), test::randn({5}, 2, DType::f32), s.m, s.v, {.1, .9, .95, 1e-8, .1, 1});
  for (size_t i = 0; i < 3; ++i) BOOST_TEST(changed[i].storage()->version() == before[i] + 1);
  test::check_thread_independent(
      [] {
        const State t = state_of({40001}, DType::f32);
        adamw(t.parameter, test::randn({40001}, 2, DType::f32), t.m, t.v, {.1, .9, .95, 1e-8, .1, 1});
        return t.parameter;
      },
      "adamw");
}

BOOST_AUTO_TEST_CASE(a_clipped_step_counts_as_a_change_of_all_that_it_writes) {
  const State s = state_of({5}, DType::f32);
  const Tensor copy = ratel::zeros({5}, DType::bf16), steps = ratel::zeros({}, DType::i64),
               outcome = ratel::zeros({2}, DType::f64), rate = ratel::full({}, 0.1, DType::f64);
  std::vector<uint64_t> before;
  const std::vector<Tensor> changed{s.parameter, s.m, s.v, copy, steps, outcome};
  for (const Tensor& x : changed) before.push_back(x.storage()->version());
  ratel::clipped_adamw({{s.parameter, test::randn({5}, 2, DType::f32), s.m, s.v, copy, {}}}, {.1, .9, .95, 1e-8, .1, 1},
                       1, {rate, {}, steps, outcome});
  for (size_t i = 0; i < changed.size(); ++i) BOOST_TEST(changed[i].storage()->version() == before[i] + 1);
}

BOOST_AUTO_TEST_CASE(many_parameters_are_clipped_together_and_rounded) {
  // On a GPU: more tensors than the 32 of a launch, one of two blocks of 2^15 elements and a rest, none at all.
  std::vector<int64_t> sizes(34, 5);
  sizes[3] = (1 << 15) + 7;
  sizes[4] = 0;
  const ratel::AdamWScale scales[] = {{}, {.rate = 0.5, .decay = 3}, {.decay = 0}};
  const auto run = [&](ratel::Device device, DType dtype, int64_t offset, double clip) {
    std::vector<ratel::AdamWParameter> all;
    for (size_t i = 0; i < sizes.size(); ++i) {
      // Those with an offset do not begin at multiples of 16 bytes.
      const auto placed = [&](uint64_t seed, DType in) {
        const Tensor whole = moved_to(test::randn({sizes[i] + offset}, seed, in), device);
        return ratel::detach(ratel::slice(whole, 0, offset, sizes[i] + offset));
      };
      all.push_back({placed(i, dtype), placed(100 + i, dtype), placed(200 + i, dtype),
                     placed(300 + i, dtype) * 0.0 + 1.0, i % 2 == 0 ? placed(0, DType::bf16) : Tensor(),
                     scales[i % 3]});
    }
    const AdamWStep step{1e-2, 0.9, 0.95, 1e-8, 0.1, 3};
    double squares = 0;
    std::vector<std::vector<double>> expected;
    for (const auto& p : all)
      for (const double g : ratel::to_vector<double>(p.grad)) squares += g * g;
    AdamWStep scaled = step;
    scaled.grad_scale = clip > 0 ? std::min(1.0, clip / (std::sqrt(squares) + 1e-6)) : 1;
    for (const auto& p : all) {
      auto value = ratel::to_vector<double>(p.parameter), m = ratel::to_vector<double>(p.m);
      auto v = ratel::to_vector<double>(p.v);
      AdamWStep own = scaled;
      own.rate *= p.scale.rate;
      own.decay *= p.scale.decay;
      plain_step(value, ratel::to_vector<double>(p.grad), m, v, own);
      expected.push_back(value);
    }
    // Two steps were made before; what step.step and step.rate say does not count.
    const Tensor steps = moved_to(ratel::full({}, 2, DType::i64), device), outcome = moved_to(ones2(), device);
    const Tensor rate = moved_to(ratel::full({}, step.rate, DType::f64), device);
    const auto clipped = [&](const std::vector<double>& losses) {
      AdamWStep unset = step;
      unset.rate = 0;
      unset.step = 0;
      const auto count = static_cast<int64_t>(losses.size());
      clipped_adamw(all, unset, clip, {rate, from_vector(losses, {count}, DType::f64, device), steps, outcome});
      return ratel::to_vector<double>(outcome);
    };
    const auto made = clipped({1.5, -2});
    BOOST_TEST(made[0] == std::sqrt(squares), boost::test_tools::tolerance(1e-12));
    BOOST_TEST(made[1] == 1);
    BOOST_TEST(steps.item() == 3);
    for (size_t i = 0; i < all.size(); ++i) {
      const Tensor& p = all[i].parameter;
      test::check_close(p, ratel::from_vector(expected[i], p.shape()), dtype == DType::f64 ? 1e-13 : 1e-6, "parameter");
      if (all[i].copy.defined()) test::check_identical(all[i].copy, moved_to(to(p, DType::bf16), device), "copy");
    }
    // A loss or a norm that is not finite changes nothing.
    const Tensor before = clone(all[3].parameter), moment = clone(all[3].m);
    const double infinity = std::numeric_limits<double>::infinity();
    const auto check_withheld = [&](const std::vector<double>& losses, const char* what) {
      const auto withheld = clipped(losses);
      BOOST_TEST(withheld[1] == 0, what);
      BOOST_TEST(steps.item() == 3, what);
      test::check_identical(all[3].parameter, before, what);
      test::check_identical(all[3].m, moment, what);
      return withheld[0];
    };
    for (const double loss : {infinity, -infinity, std::nan("")})
      BOOST_TEST(check_withheld({1, loss, 2}, "loss") == made[0]);
    all[33].grad = all[33].grad * infinity;
    BOOST_TEST(!std::isfinite(check_withheld({1, 2}, "norm")));
  };
  const auto on = [&](ratel::Device device) {
    for (const double clip : {1.0, 0.0, 1e6}) run(device, DType::f32, 0, clip);
    run(device, DType::f32, 1, 1);
    run(device, DType::f64, 0, 1);
  };
  on(ratel::kCpu);
  test::on_gpus(on);
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = test::randn({3}, 1), half = to(x, DType::bf16), y = test::randn({4}, 1);
  const AdamWStep step{.1, .9, .95, 1e-8, .1, 1};
  test::check_error([&] { adamw(x, x, x, x, {.1, .9, .95, 1e-8, .1, 0}); }, "steps count from 1, found 0");
  test::check_error([&] { adamw(half, half, half, half, step); }, "expected a parameter of f32 or f64, found bf16");
  test::check_error([&] { adamw(x, y, x, x, step); }, "expected gradient and moments of f64 (3), found f64 (4)");
  test::check_error([&] { adamw(x, to(x, DType::f32), x, x, step); }, "found f32 (3)");
  test::check_error([&] { adamw(x, broadcast_to(ratel::ones({1}, DType::f64), {3}), x, x, step); },
                    "must be contiguous");
  test::check_error([&] { adamw(clone(requires_grad(clone(x))), x, x, x, step); }, "must be a contiguous leaf");
  test::check_error([&] { adamw(x, Tensor(), x, x, step); }, "adamw: an undefined tensor");
}
