#include "train/optimizer.h"

#include <cmath>
#include <limits>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "test/support/compare.h"

namespace nn = ratel::nn;
namespace test = ratel::test;
using ratel::DType;
using ratel::Tensor;
using ratel::train::Optimizer;
using ratel::train::TrainConfig;

namespace {

/// Two parameters with random values and gradients.
struct Case {
  nn::ParamStore store;
  Case(DType dtype, double scale) : store(dtype, 3) {
    store.add("a", {3, 5}, nn::normal(1));
    store.add("b", {7}, nn::normal(1));
    set_grads(scale);
  }
  void set_grads(double scale, uint64_t seed = 1) const {
    for (const auto& [name, p] : store.parameters())
      set_grad(p, to(test::randn(p.shape(), ++seed) * scale, accumulate_dtype(p.dtype())));
  }
};

/// AdamW and clipping by hand, in double.
struct Plain {
  std::vector<std::vector<double>> p, m, v;
  explicit Plain(const nn::ParamStore& store) {
    for (const auto& [name, x] : store.parameters()) p.push_back(ratel::to_vector<double>(x));
    for (const auto& x : p) m.emplace_back(x.size(), 0.0), v.emplace_back(x.size(), 0.0);
  }
  double step(const nn::ParamStore& store, const TrainConfig::Optimizer& o, double rate, int t) {
    double squares = 0;
    for (const auto& [name, x] : store.parameters())
      for (const double g : ratel::to_vector<double>(grad(x))) squares += g * g;
    const double norm = std::sqrt(squares), scale = o.clip > 0 ? std::min(1.0, o.clip / (norm + 1e-6)) : 1;
    for (size_t i = 0; i < p.size(); ++i) {
      const auto grads = ratel::to_vector<double>(grad(store.parameters()[i].tensor));
      for (size_t j = 0; j < p[i].size(); ++j) {
        const double g = grads[j] * scale;
        p[i][j] *= 1 - rate * o.weight_decay;
        m[i][j] = o.beta1 * m[i][j] + (1 - o.beta1) * g;
        v[i][j] = o.beta2 * v[i][j] + (1 - o.beta2) * g * g;
        p[i][j] -= rate / (1 - std::pow(o.beta1, t)) * m[i][j] /
                   (std::sqrt(v[i][j]) / std::sqrt(1 - std::pow(o.beta2, t)) + o.eps);
      }
    }
    return norm;
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(steps_equal_adamw_by_hand_clipped_or_not) {
  for (const double clip : {1.0, 0.0, 1e6})
    for (const double scale : {0.01, 5.0}) {
      const Case c(DType::f64, scale);
      TrainConfig::Optimizer options;
      options.clip = clip;
      Optimizer optimizer(c.store, options);
      Plain plain(c.store);
      for (int t = 1; t <= 4; ++t) {
        c.set_grads(scale, static_cast<uint64_t>(10 * t));
        const auto result = optimizer.step(0.01 * t);
        const double norm = plain.step(c.store, options, 0.01 * t, t);
        BOOST_TEST(result.applied);
        BOOST_TEST(std::abs(result.grad_norm - norm) <= 1e-14 * norm);
      }
      BOOST_TEST(optimizer.steps() == 4);
      for (size_t i = 0; i < plain.p.size(); ++i) {
        const Tensor& p = c.store.parameters()[i].tensor;
        test::check_close(p, ratel::from_vector(plain.p[i], p.shape()), 1e-13, "parameter");
        test::check_close(optimizer.state()[i].tensor, ratel::from_vector(plain.m[i], p.shape()), 1e-13, "m");
        test::check_close(optimizer.state()[2 + i].tensor, ratel::from_vector(plain.v[i], p.shape()), 1e-13, "v");
      }
    }
}

BOOST_AUTO_TEST_CASE(the_options_are_those_that_were_given) {
  const Case c(DType::f64, 0.1);
  TrainConfig::Optimizer options;  // none of them its default
  options.beta1 = 0.8, options.beta2 = 0.7, options.eps = 0.05, options.weight_decay = 0.3, options.clip = 0.2;
  Optimizer optimizer(c.store, options);
  Plain plain(c.store);
  for (int t = 1; t <= 3; ++t) {
    c.set_grads(0.1, static_cast<uint64_t>(10 * t));
    optimizer.step(0.01);
    plain.step(c.store, options, 0.01, t);
  }
  for (size_t i = 0; i < plain.p.size(); ++i) {
    const Tensor& p = c.store.parameters()[i].tensor;
    test::check_close(p, ratel::from_vector(plain.p[i], p.shape()), 1e-13, "parameter");
  }
}

BOOST_AUTO_TEST_CASE(a_gradient_that_is_not_finite_changes_nothing) {
  const Case c(DType::f32, 1);
  Optimizer optimizer(c.store, {});
  optimizer.step(0.1);
  std::vector<Tensor> before;
  for (const auto& [name, p] : c.store.parameters()) before.push_back(clone(detach(p)));
  for (const auto& [name, moment] : optimizer.state()) before.push_back(clone(detach(moment)));
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    grad(c.store.at("b")).data<float>()[6] = bad;
    const auto result = optimizer.step(0.1);
    BOOST_TEST(!result.applied);
    BOOST_TEST(!std::isfinite(result.grad_norm));
    BOOST_TEST(optimizer.steps() == 1);
    for (size_t i = 0; i < 2; ++i) test::check_identical(c.store.parameters()[i].tensor, before[i], "parameter");
    for (size_t i = 0; i < 4; ++i) test::check_identical(optimizer.state()[i].tensor, before[2 + i], "moment");
  }
}

BOOST_AUTO_TEST_CASE(a_parameter_without_a_gradient_stays) {
  const Case c(DType::f32, 1);
  zero_grad(c.store.at("b"));
  const Tensor before = clone(detach(c.store.at("b")));
  Optimizer optimizer(c.store, {});
  BOOST_TEST(optimizer.step(0.1).applied);
  test::check_identical(c.store.at("b"), before, "b");
  optimizer.zero_grad();
  BOOST_TEST(!grad(c.store.at("a")).defined());
}

BOOST_AUTO_TEST_CASE(a_frozen_parameter_stays) {
  for (const bool by_master : {true, false}) {
    const Case masters(DType::f32, 1), copies(DType::bf16, 1);
    requires_grad((by_master ? masters : copies).store.at("b"), false);
    const Tensor before = clone(detach(masters.store.at("b")));
    Optimizer optimizer(masters.store, copies.store, {});
    BOOST_TEST(optimizer.step(0.1).applied);
    test::check_identical(masters.store.at("b"), before, "master");
    test::check_identical(copies.store.at("b"), to(before, DType::bf16), "copy");
    BOOST_TEST(test::relative_error(copies.store.at("a"), to(Case(DType::f32, 1).store.at("a"), DType::bf16)) > 0.01);
  }
}

BOOST_AUTO_TEST_CASE(copies_are_their_rounded_masters_from_the_start) {
  const Case masters(DType::f32, 1), copies(DType::bf16, 1);
  for (const auto& [name, copy] : copies.store.parameters()) fill_into(copy, 7);
  const Optimizer optimizer(masters.store, copies.store, {});
  for (const auto& [name, master] : masters.store.parameters())
    test::check_identical(copies.store.at(name), to(detach(master), DType::bf16), name);
}

BOOST_AUTO_TEST_CASE(a_parameter_may_have_its_own_rate_and_decay) {
  const Case c(DType::f64, 0.1), alike(DType::f64, 0.1);
  TrainConfig::Optimizer options;
  options.weight_decay = 0.3, options.clip = 0;
  Optimizer optimizer(c.store, options, [](const ratel::NamedTensor& p) {
    return p.name == "a" ? ratel::AdamWScale{.rate = 0.5} : ratel::AdamWScale{.decay = 0};
  });
  Plain slow(alike.store), undecayed(alike.store);
  TrainConfig::Optimizer without = options;
  without.weight_decay = 0;
  for (int t = 1; t <= 3; ++t) {
    for (const Case* each : {&c, &alike}) each->set_grads(0.1, static_cast<uint64_t>(10 * t));
    optimizer.step(0.01);
    slow.step(alike.store, options, 0.005, t);
    undecayed.step(alike.store, without, 0.01, t);
  }
  test::check_close(c.store.at("a"), ratel::from_vector(slow.p[0], {3, 5}), 1e-13, "half the rate");
  test::check_close(c.store.at("b"), ratel::from_vector(undecayed.p[1], {7}), 1e-13, "no decay");
  test::check_error([&] { Optimizer(c.store, {}, [](const auto&) { return ratel::AdamWScale{.rate = -1}; }); },
                    "optimizer: a: expected finite scales of 0 or more, found -1");
}

BOOST_AUTO_TEST_CASE(state_goes_to_another_optimizer_and_on_from_there) {
  const Case one(DType::f32, 1), two(DType::f32, 1);
  Optimizer a(one.store, {});
  for (int t = 0; t < 3; ++t) a.step(0.01);
  Optimizer b(two.store, {});
  two.store.load(one.store.parameters(), "test");
  b.load(a.state(), a.steps(), "test");
  one.set_grads(2, 50), two.set_grads(2, 50);
  a.step(0.02), b.step(0.02);
  BOOST_TEST(b.steps() == 4);
  for (size_t i = 0; i < 2; ++i)
    test::check_identical(two.store.parameters()[i].tensor, one.store.parameters()[i].tensor, "parameter");
  for (size_t i = 0; i < 4; ++i) test::check_identical(b.state()[i].tensor, a.state()[i].tensor, a.state()[i].name);
  BOOST_TEST(a.state()[0].name == "m.a");
  BOOST_TEST(a.state()[3].name == "v.b");

  auto wrong = a.state();
  wrong[0].name = "m.z";
  test::check_error([&] { b.load(wrong, 1, "moments"); }, "moments: ");
  test::check_error([&] { b.load(wrong, 1, "moments"); }, "1 missing: m.a; 1 unexpected: m.z");
}

BOOST_AUTO_TEST_CASE(a_loss_that_is_not_finite_withholds_a_step_whose_gradients_are) {
  const Case c(DType::f64, 1);
  Optimizer optimizer(c.store, {});
  const Tensor outcome = ratel::zeros({2}, DType::f64), p = c.store.at("a");
  const Tensor before = ratel::clone(detach(p));
  optimizer.set_rate(0.1);
  optimizer.step(ratel::from_vector<double>({1, std::nan("")}, {2}), outcome);
  test::check_identical(detach(p), before, "withheld");
  BOOST_TEST(ratel::to_vector<double>(outcome)[1] == 0);
  BOOST_TEST(optimizer.steps() == 0);
  optimizer.step(ratel::from_vector<double>({1, 2}, {2}), outcome);
  BOOST_TEST(ratel::to_vector<double>(outcome)[1] == 1);
  BOOST_TEST(ratel::to_vector<double>(outcome)[0] > 0);
  BOOST_TEST(optimizer.steps() == 1);
  BOOST_TEST(ratel::to_vector<double>(p) != ratel::to_vector<double>(before));
}

BOOST_AUTO_TEST_CASE(stores_that_cannot_be_trained_are_refused_at_once) {
  const nn::ParamStore none;
  test::check_error([&] { Optimizer(none, {}); }, "the store has no parameters; make the layers first");
  const Case wide(DType::f32, 1), narrow(DType::bf16, 1);
  test::check_error([&] { Optimizer(narrow.store, {}); }, "expected parameters of f32 or f64, found bf16");
  test::check_error([&] { Optimizer(wide.store, Case(DType::f32, 1).store, {}); },
                    "expected parameters of f32 and copies of bf16, found f32 and f32");
  test::check_error([&] { Optimizer(Case(DType::f64, 1).store, narrow.store, {}); }, "found f64 and bf16");
  Optimizer(wide.store, narrow.store, {});
  nn::ParamStore more(DType::bf16);
  for (const auto& [path, parameter] : wide.store.parameters()) more.add(path, parameter.shape(), nn::constant(0));
  more.add("forgotten", {1}, nn::constant(0));
  test::check_error([&] { Optimizer(wide.store, more, {}); }, "expected as many copies as parameters, ");
}

BOOST_AUTO_TEST_CASE(options_and_rates_that_make_nan_of_weights_are_refused) {
  const Case c(DType::f32, 1);
  const Tensor before = clone(detach(c.store.at("a")));
  test::check_error([&] { Optimizer(c.store, {.beta1 = 1}); }, "optimizer.beta1: ");
  test::check_error([&] { Optimizer(c.store, {.eps = 0}); }, "optimizer.eps: ");
  Optimizer optimizer(c.store, {});
  for (const double rate : {std::nan(""), std::numeric_limits<double>::infinity()})
    test::check_error([&] { optimizer.step(rate); }, "optimizer: expected a finite learning rate, found ");
  test::check_identical(detach(c.store.at("a")), before, "parameter");
}
