#include "ops/softmax.h"

#include <cmath>
#include <limits>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "ops/unary.h"
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
// pieces of 16384 elements.
const Case kCases[] = {
    {"one element", {1}},
    {"rows of one element", {5, 1}},
    {"one short of a register", {5, 15}},
    {"a register", {5, 16}},
    {"one past a register", {2, 3, 17}},
    {"bytes and end of text", {70, 257}},
    {"a row longer than a piece", {2, 20001}},
    // On a GPU: 256 threads a block, at 4 f32 each where rows begin at multiples of 16 bytes.
    {"vectors, the last threads of a warp idle", {3, 136}},
    {"more vectors than threads", {2, 1032}},
};

struct Function {
  const char* name;
  Tensor (*op)(const Tensor&);
  Tensor (*reference)(const Tensor&);
};
const Function kFunctions[] = {
    {"softmax", ratel::softmax, ratel::softmax_reference},
    {"log_softmax", ratel::log_softmax, ratel::log_softmax_reference},
};

test::TensorFunction of(Tensor (*f)(const Tensor&)) {
  return [f](const std::vector<Tensor>& x) { return f(x[0]); };
}

constexpr double kInf = std::numeric_limits<double>::infinity();

}  // namespace

BOOST_AUTO_TEST_CASE(agree_with_their_references) {
  for (const Case& c : kCases)
    for (const Function& f : kFunctions) {
      // A row of one element has gradient zero, up to what rounding leaves of it.
      if (c.shape[-1] == 1) continue;
      for (const double scale : {1.0, 10.0})
        test::check_against_reference(of(f.op), of(f.reference), {test::randn(c.shape, 1) * scale},
                                      std::string(f.name) + ", " + c.path);
    }
  const Tensor x = test::randn({3, 4, 21}, 2);
  for (const Function& f : kFunctions)
    test::check_against_reference(of(f.op), of(f.reference), {test::scattered(x)}, std::string(f.name) + " strided");
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (const Case& c : kCases)
    for (const Function& f : kFunctions)
      if (c.shape.numel() < 1000) test::gradcheck(of(f.op), {test::randn(c.shape, 3)}, std::string(f.name) + c.path);
  for (const Function& f : kFunctions) {
    test::gradcheck(of(f.op), {test::scattered(test::randn({3, 4, 5}, 3))}, "strided");
    test::gradcheck([&](const auto& x) { return f.op(x[0]) * f.op(x[0]) * x[0]; }, {test::randn({2, 7}, 4)}, "twice");
    test::gradcheck(
        [&](const auto& x) {
          return broadcast_to(f.op(x[0]), {4, 2, 5});
        },
        {test::randn({2, 5}, 5)}, "a gradient that is not contiguous");
  }
}

BOOST_AUTO_TEST_CASE(rows_of_one_element) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensor x = requires_grad(test::randn({5, 1}, 1, dtype));
    const Tensor y = softmax(x), z = log_softmax(x);
    test::check_identical(detach(y), ratel::ones({5, 1}, dtype), "softmax");
    test::check_identical(detach(z), ratel::zeros({5, 1}, dtype), "log_softmax");
    backward(sum(y * y + z * z + z));
    test::check_close(grad(x), ratel::zeros({5, 1}), 0, "gradient");
  }
}

BOOST_AUTO_TEST_CASE(masked_entries_get_nothing) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    // Every other entry at -inf: the rest must be what it is without them, gradients included.
    const Tensor rest = test::randn({6, 19}, 1, dtype), cotangent = test::randn({6, 38}, 2, dtype);
    const Tensor masked = ratel::full({6, 38}, -kInf, dtype);
    copy_into(slice(masked, 1, 0, 38, 2), rest);
    for (const ratel::Device device : test::devices()) {
      const auto all = test::gradients(of(ratel::softmax), {masked}, cotangent, device);
      const auto some = test::gradients(of(ratel::softmax), {rest}, contiguous(slice(cotangent, 1, 0, 38, 2)), device);
      const double tolerance = dtype == DType::bf16 ? 0x1p-7 : dtype == DType::f32 ? 1e-6 : 1e-14;
      const std::string where = ratel::concat_text(" on ", device);
      test::check_close(slice(all.out, 1, 0, 38, 2), some.out, tolerance, "kept" + where);
      test::check_close(slice(all.grads[0], 1, 0, 38, 2), some.grads[0], 2 * tolerance, "kept, gradient" + where);
      test::check_close(slice(all.out, 1, 1, 38, 2), ratel::zeros({6, 19}, dtype), 0, "masked" + where);
      test::check_close(slice(all.grads[0], 1, 1, 38, 2), ratel::zeros({6, 19}), 0, "masked, gradient" + where);

      const auto nothing = ratel::to_vector<double>(softmax(ratel::full({2, 17}, -kInf, dtype, device)));
      for (const double y : nothing) BOOST_TEST(std::isnan(y));
    }
  }
}

BOOST_AUTO_TEST_CASE(huge_logits_neither_overflow_nor_vanish) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    std::vector<double> values(40, -1000);
    values[3] = 1000;
    values[25] = values[30] = 3e4;
    for (const ratel::Device device : test::devices()) {
      const Tensor x = ratel::from_vector(values, {2, 20}, dtype, device);
      const auto p = ratel::to_vector<double>(softmax(x)), logs = ratel::to_vector<double>(log_softmax(x));
      BOOST_TEST(p[3] == 1);
      BOOST_TEST(p[4] == 0);
      BOOST_TEST(p[25] == 0.5);
      BOOST_TEST(logs[3] == 0);
      // The probability underflows, its logarithm does not.
      BOOST_TEST(logs[4] == -2000, boost::test_tools::tolerance(0x1p-8));
      BOOST_TEST(logs[20] == -31000, boost::test_tools::tolerance(0x1p-8));
      for (const Function& f : kFunctions) {
        const auto g = test::gradients(of(f.op), {moved_to(x, ratel::kCpu)}, {}, device);
        for (const double v : ratel::to_vector<double>(g.grads[0])) BOOST_TEST(std::isfinite(v));
      }
    }
  }
  // Small differences on top of a large offset survive.
  const Tensor x = to(to(test::randn({4, 33}, 1) * 0.1 + 1000, DType::f32), DType::f64);
  test::check_close(to(softmax(to(x, DType::f32)), DType::f64), softmax(x), 1e-6, "softmax at an offset");
  test::check_close(to(log_softmax(to(x, DType::f32)), DType::f64), log_softmax(x), 1e-6, "log_softmax at an offset");
}

BOOST_AUTO_TEST_CASE(nan_fills_its_row_and_no_other) {
  std::vector<double> values(60, 1.0);
  values[25] = std::numeric_limits<double>::quiet_NaN();
  for (const Function& f : kFunctions)
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      for (const ratel::Device device : test::devices()) {
        const auto y = ratel::to_vector<double>(f.op(ratel::from_vector(values, {3, 20}, dtype, device)));
        for (size_t i = 0; i < 60; ++i) BOOST_TEST(std::isnan(y[i]) == (i / 20 == 1));
      }
    }
}

BOOST_AUTO_TEST_CASE(the_number_of_threads_changes_no_bit) {
  const Tensor x = test::randn({300, 257}, 1, DType::f32);
  for (const Function& f : kFunctions) {
    test::check_thread_independent([&] { return f.op(x); }, "forward");
    test::check_thread_independent([&] { return test::gradients(of(f.op), {x}).grads[0]; }, "backward");
  }
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  test::check_error(
      [] {
        softmax(ratel::zeros({3, 0}));
      },
      "softmax: expected (..., N) with N >= 1, found shape (3, 0)");
  test::check_error([] { log_softmax(ratel::scalar(1)); }, "log_softmax: expected (..., N)");
  test::check_error([] { softmax(ratel::arange(3)); }, "softmax: expected a float dtype, found i64");
  BOOST_TEST(softmax(ratel::zeros({0, 3})).numel() == 0);
}
