#include "ops/unary.h"

#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
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

// The kernel's paths: whole registers, the elements that do not fill one, whole blocks of 1024, pieces of 16 blocks.
const Case kCases[] = {
    {"one element", {1}},
    {"rank 0", {}},
    {"empty", {0, 3}},
    {"one short of a register", {15}},
    {"a register", {16}},
    {"one past a register", {17}},
    {"ragged rows, below a block", {3, 5, 7}},
    {"one short of a block", {1023}},
    {"a block", {1024}},
    {"one past a block", {1025}},
    {"two pieces, the second short", {131, 128}},
};

struct Function {
  const char* name;
  Tensor (*op)(const Tensor&);
  Tensor (*reference)(const Tensor&);
};
const Function kComposed[] = {
    {"sigmoid", ratel::sigmoid, ratel::sigmoid_reference},
    {"silu", ratel::silu, ratel::silu_reference},
    {"gelu", ratel::gelu, ratel::gelu_reference},
};

test::TensorFunction of(Tensor (*f)(const Tensor&)) {
  return [f](const std::vector<Tensor>& x) { return f(x[0]); };
}

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// f of these values in f32 and f64, as doubles.
void check_values(Tensor (*f)(const Tensor&), const std::vector<double>& at, const std::vector<double>& expected,
                  double tolerance, const std::string& what) {
  // Repeated, so that registers and the odd elements at the end both meet every value.
  std::vector<double> xs;
  for (int i = 0; i < 19; ++i) xs.insert(xs.end(), at.begin(), at.end());
  for (const ratel::Device device : test::devices())
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensor x = ratel::from_vector(xs, {static_cast<int64_t>(xs.size())}, dtype, device);
      const auto y = ratel::to_vector<double>(f(x));
      for (size_t i = 0; i < y.size(); ++i) {
        const double e = expected[i % at.size()];
        const bool good = std::isnan(e) ? std::isnan(y[i]) : y[i] == e || std::abs(y[i] - e) <= tolerance * std::abs(e);
        BOOST_CHECK_MESSAGE(
            good, what << " of " << xs[i] << " in " << dtype << " on " << device << ": " << y[i] << ", expected " << e);
      }
    }
}

}  // namespace

BOOST_AUTO_TEST_CASE(composed_functions_agree_with_their_references) {
  for (const Case& c : kCases)
    for (const Function& f : kComposed)
      for (const double scale : {0.1, 3.0})  // near the bend, and out to the tails
        test::check_against_reference(of(f.op), of(f.reference), {test::randn(c.shape, 1) * scale},
                                      std::string(f.name) + ", " + c.path);
}

BOOST_AUTO_TEST_CASE(primitives_equal_the_c_library) {
  const auto each = [](const Tensor& x, double (*f)(double)) {
    auto values = ratel::to_vector<double>(x);
    for (double& v : values) v = f(v);
    return ratel::from_vector(values, x.shape());
  };
  for (const Case& c : kCases) {
    const Tensor x = test::randn(c.shape, 1) * 5, positive = exp(x);
    test::check_close(exp(x), each(x, std::exp), 1e-15, c.path);
    test::check_close(log(positive), each(positive, std::log), 1e-15, c.path);
    test::check_close(sqrt(positive), each(positive, std::sqrt), 1e-15, c.path);
    test::check_close(tanh(x), each(x, std::tanh), 1e-15, c.path);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      // One rounding of the exact result: half an ulp for bf16; the f32 functions themselves err by one.
      const Tensor low = to(x, dtype), low_positive = to(positive, dtype);
      const double tolerance = dtype == DType::f32 ? 0x1p-23 : 0x1.01p-8;
      test::check_close(exp(low), each(low, std::exp), tolerance, c.path);
      test::check_close(log(low_positive), each(low_positive, std::log), tolerance, c.path);
      test::check_close(sqrt(low_positive), each(low_positive, std::sqrt), tolerance, c.path);
      test::check_close(tanh(low * 0.2), each(low * 0.2, std::tanh), tolerance, c.path);
      test::check_close(abs(low), each(low, std::abs), 0, c.path);
      test::check_close(relu(low), each(low, [](double v) { return v > 0 ? v : 0; }), 0, c.path);
    }
  }
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (const Case& c : kCases) {
    const Tensor x = test::randn(c.shape, 2);
    for (const Function& f : kComposed) test::gradcheck(of(f.op), {x}, std::string(f.name) + ' ' + c.path);
    test::gradcheck(of(ratel::exp), {x}, c.path);
    test::gradcheck(of(ratel::log), {x * x + 0.5}, c.path);
    test::gradcheck(of(ratel::sqrt), {x * x + 0.5}, c.path);
    test::gradcheck(of(ratel::tanh), {x}, c.path);
    test::gradcheck(of(ratel::relu), {x}, c.path);
    test::gradcheck(of(ratel::abs), {x}, c.path);
  }
  for (const auto f : {ratel::exp, ratel::tanh, ratel::sigmoid, ratel::relu, ratel::silu, ratel::gelu}) {
    test::gradcheck(of(f), {test::scattered(test::randn({3, 4, 5}, 3))}, "strided");
    test::gradcheck([f](const auto& x) { return f(x[0]) * f(x[0]) * x[0]; }, {test::randn({7}, 4)}, "used three times");
    test::gradcheck(
        [f](const auto& x) {
          return broadcast_to(f(x[0]), {4, 5});
        },
        {test::randn({5}, 5)}, "a gradient that is not contiguous");
  }
  const Tensor at_zero = requires_grad(ratel::from_vector<double>({0, -0.0, 1, -1}, {4}));
  backward(relu(at_zero), ratel::from_vector<double>({2, 2, 2, 2}, {4}));
  test::check_close(grad(at_zero), ratel::from_vector<double>({0, 0, 2, 0}, {4}), 0, "relu at 0");
  zero_grad(at_zero);
  backward(abs(at_zero), ratel::from_vector<double>({2, 2, 2, 2}, {4}));
  test::check_close(grad(at_zero), ratel::from_vector<double>({0, 0, 2, -2}, {4}), 0, "abs at 0");
}

BOOST_AUTO_TEST_CASE(bits_depend_on_the_element_alone) {
  const auto all = {ratel::exp,     ratel::log,  ratel::sqrt, ratel::tanh,
                    ratel::sigmoid, ratel::relu, ratel::silu, ratel::gelu};
  const Tensor x = test::randn({5, 6, 7}, 1, DType::f32), positive = x * x;
  for (const auto f : all) test::check_identical(f(test::scattered(positive)), f(positive), "strided");
  // In pieces that fill no register, and in one that fills many.
  const Tensor many = exp(test::randn({7 * 3000}, 2, DType::f32) * 9);
  for (const auto f : all) {
    const auto whole = ratel::to_vector<float>(f(many));
    std::vector<float> pieces;
    for (int64_t i = 0; i < many.numel(); i += 7)
      for (const float value : ratel::to_vector<float>(f(slice(many, 0, i, i + 7)))) pieces.push_back(value);
    BOOST_TEST(whole == pieces);
  }
  for (const float denormal : {-1e-39F, -0.0F}) {
    const double y = log(ratel::full({1}, denormal)).item();
    BOOST_TEST((denormal == 0 ? std::isinf(y) : std::isnan(y)));
  }
  BOOST_TEST(std::signbit(tanh(ratel::full({1}, -0.0)).item()));
}

BOOST_AUTO_TEST_CASE(extreme_arguments) {
  check_values(ratel::exp, {0, 80, -86.5, 1000, -1000, kInf, -kInf, kNan},
               {1, std::exp(80), std::exp(-86.5), kInf, 0, kInf, 0, kNan}, 1e-6, "exp");
  check_values(ratel::log, {1, 0, -0.0, -1, -1e-40, kInf, -kInf, kNan}, {0, -kInf, -kInf, kNan, kNan, kInf, kNan, kNan},
               1e-6, "log");
  check_values(ratel::sqrt, {4, 0, -1, kInf, kNan}, {2, 0, kNan, kInf, kNan}, 0, "sqrt");
  check_values(ratel::tanh, {0, 0.6, 0.7, -1e-30, 30, -1000, kInf, -kInf, kNan},
               {0, std::tanh(0.6), std::tanh(0.7), -1e-30, 1, -1, 1, -1, kNan}, 3e-7, "tanh");
  check_values(ratel::sigmoid, {0, 1000, -1000, -60, 30, kInf, -kInf, kNan}, {0.5, 1, 0, std::exp(-60), 1, 1, 0, kNan},
               1e-6, "sigmoid");
  check_values(ratel::relu, {0, 3, -3, kInf, -kInf, kNan}, {0, 3, 0, kInf, 0, kNan}, 0, "relu");
  check_values(ratel::silu, {0, 1000, -1000, -60, kInf, kNan}, {0, 1000, 0, -60 * std::exp(-60), kInf, kNan}, 1e-6,
               "silu");
  check_values(ratel::gelu, {0, 10, -10, 1e30, -1e30, kInf, kNan},
               {0, 10, -5 * std::erfc(10 / std::sqrt(2)), 1e30, 0, kInf, kNan}, 1e-5, "gelu");
}

BOOST_AUTO_TEST_CASE(gradients_at_extreme_arguments_are_finite) {
  for (const ratel::Device device : test::devices())
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      const double huge = dtype == DType::f64 ? 1e300 : 1e30;  // whose square overflows
      const std::vector<double> at{huge, 1000, 100, 20, 0, -20, -100, -1000, -huge};
      for (const auto f : {ratel::tanh, ratel::sigmoid, ratel::silu, ratel::gelu}) {
        const Tensor x = requires_grad(ratel::from_vector(at, {9}, dtype, device));
        backward(f(x), ratel::to(ratel::to(test::randn({9}, 1), dtype), device));
        for (const double g : ratel::to_vector<double>(grad(x))) BOOST_TEST(std::isfinite(g), g << " on " << device);
      }
    }
}

// In bf16 a kernel may take shorter formulas, which must show nowhere: over all its numbers from the far tail on, half
// a unit of the result, and what 5e-6 of a formula adds to it.
BOOST_AUTO_TEST_CASE(gelu_of_every_bf16_number_is_rounded_once) {
  std::vector<double> xs;
  for (uint32_t bits = 0x2000; bits < 0x4140; ++bits)  // 1e-19 to 12
    for (const uint32_t sign : {0U, 0x8000U}) xs.push_back(std::bit_cast<float>((bits | sign) << 16));
  const Tensor at = ratel::from_vector(xs, {static_cast<int64_t>(xs.size())}, DType::bf16);
  for (const ratel::Device device : test::devices()) {
    const Tensor x = requires_grad(detach(to(at, device))), y = gelu(x);
    backward(y, ratel::ones(x.shape(), DType::bf16, device));
    const auto values = ratel::to_vector<double>(y), slopes = ratel::to_vector<double>(grad(x));
    for (size_t i = 0; i < xs.size(); ++i) {
      const double mass = std::erfc(-xs[i] / std::numbers::sqrt2) / 2;
      const double density = std::exp(-xs[i] * xs[i] / 2) * std::numbers::inv_sqrtpi / std::numbers::sqrt2;
      const double value = xs[i] * mass, slope = mass + xs[i] * density;
      if (std::abs(values[i] - value) > std::abs(value) * (0x1p-8 + 5e-6))
        BOOST_ERROR("gelu of " << xs[i] << " on " << device << ": " << values[i] << ", expected " << value);
      if (std::abs(slopes[i] - slope) > std::abs(slope) * 0x1p-8 + mass * 1e-5)
        BOOST_ERROR("gelu's gradient at " << xs[i] << " on " << device << ": " << slopes[i] << ", expected " << slope);
    }
  }
}

BOOST_AUTO_TEST_CASE(log_and_tanh_keep_f32s_digits) {
  // Every 997th f32 number above 0, denormals too; of tanh up to where it is 1.
  std::vector<double> xs;
  for (uint32_t bits = 1; bits < 0x7f800000; bits += 997) xs.push_back(std::bit_cast<float>(bits));
  const Tensor x = ratel::from_vector(xs, {static_cast<int64_t>(xs.size())}, DType::f32);
  const auto ulp = [](double value) { return std::ldexp(1.0, std::max(std::ilogb(value), -126) - 23); };
  const auto check_all = [&](Tensor (*f)(const Tensor&), double (*exact)(double), double tolerance, const char* name) {
    for (const ratel::Device device : test::devices()) {
      const auto values = ratel::to_vector<double>(f(to(x, device)));
      double worst = 0, at = 0;
      for (size_t i = 0; i < xs.size(); ++i)
        if (const double e = exact(xs[i]), error = e == 0 ? values[i] : std::abs(values[i] - e) / ulp(e); error > worst)
          worst = error, at = xs[i];
      BOOST_TEST(worst <= tolerance, name << " errs by " << worst << " ulp at " << at << " on " << device);
    }
  };
  check_all(ratel::log, std::log, 1, "log");
  check_all(ratel::tanh, std::tanh, 3, "tanh");
}

BOOST_AUTO_TEST_CASE(the_number_of_threads_changes_no_bit) {
  const Tensor x = test::randn({70001}, 1, DType::f32);
  for (const auto f : {ratel::exp, ratel::log, ratel::sqrt, ratel::tanh, ratel::sigmoid, ratel::silu, ratel::gelu}) {
    test::check_thread_independent([&] { return f(x); }, "forward");
    test::check_thread_independent([&] { return test::gradients(of(f), {x}).grads[0]; }, "backward");
  }
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = to(test::randn({3}, 1), DType::i64);
  test::check_error([&] { gelu(x); }, "gelu: expected a float dtype, found i64");
  test::check_error([&] { exp(x); }, "exp: expected a float dtype, found i64");
  test::check_error([&] { sigmoid(Tensor()); }, "sigmoid: an undefined tensor");
}
