#include "ops/reduce.h"

#include <cmath>
#include <limits>

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
using ratel::KeepDims;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

struct Case {
  const char* path;
  Shape shape;
  std::vector<int> axes;
};

// The kernel's paths: one row in pieces of 2^15; rows of blocks of 1024; strips of 64 columns for leading axes.
const Case kCases[] = {
    {"rank 0", {}, {}},
    {"one element", {1}, {0}},
    {"all, one piece", {5, 7}, {}},
    {"all, several pieces", {70001}, {}},
    {"last axis", {5, 7}, {1}},
    {"last axis, one short of a block", {3, 1023}, {-1}},
    {"last axis, one past a block", {3, 1025}, {-1}},
    {"leading axis, one strip", {9, 64}, {0}},
    {"leading axes, a ragged strip", {3, 4, 65}, {0, 1}},
    {"middle axis", {3, 4, 5}, {1}},
    {"outer axes", {3, 4, 5}, {0, 2}},
    {"axes in falling order", {3, 4, 5}, {2, 0}},
    {"all axes named", {3, 4}, {0, 1}},
    {"no rows", {0, 4}, {1}},
};

/// The definition: a walk over the elements.
template <class F>
Tensor by_elements(const Tensor& x, const std::vector<int>& axes, KeepDims keep, double start, F f) {
  std::vector<char> gone(static_cast<size_t>(x.rank()), axes.empty());
  for (const int axis : axes) gone[static_cast<size_t>(x.shape().normalize_axis(axis))] = 1;
  Shape kept, shape;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const bool goes = gone[static_cast<size_t>(axis)] != 0;
    kept.push_back(goes ? 1 : x.dim(axis));
    if (!goes || keep == KeepDims::yes) shape.push_back(goes ? 1 : x.dim(axis));
  }
  std::vector<double> out(static_cast<size_t>(kept.numel()), start);
  const auto values = ratel::to_vector<double>(x);
  size_t next = 0;
  for_each_position(ratel::Layout::contiguous(kept).broadcast_to(x.shape(), "test"), [&](int64_t position) {
    double& total = out[static_cast<size_t>(position)];
    total = f(total, values[next++]);
  });
  return ratel::from_vector(out, shape, x.dtype());
}

Tensor sum_by_elements(const Tensor& x, const std::vector<int>& axes, KeepDims keep) {
  return by_elements(x, axes, keep, 0, [](double a, double b) { return a + b; });
}

double ulp(DType dtype) { return dtype == DType::f64 ? 1e-13 : dtype == DType::f32 ? 1e-6 : 0x1p-8; }

}  // namespace

BOOST_AUTO_TEST_CASE(sum_and_max_equal_their_definitions) {
  for (const Case& c : kCases)
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16})
      for (const KeepDims keep : {KeepDims::no, KeepDims::yes}) {
        const Tensor x = test::randn(c.shape, 1, dtype), expected = sum_by_elements(x, c.axes, keep);
        // Against the sum of magnitudes: a sum may cancel.
        const Tensor scale = by_elements(x, c.axes, keep, 0, [](double a, double b) { return a + std::abs(b); });
        const auto larger = [](double m, double v) { return std::max(m, v); };
        const Tensor largest = by_elements(x, c.axes, keep, -std::numeric_limits<double>::infinity(), larger);
        const auto b = ratel::to_vector<double>(expected), s = ratel::to_vector<double>(scale);
        for (const ratel::Device device : test::devices())
          for (const Tensor& in : {to(x, device), test::scattered(to(x, device))}) {
            const Tensor total = sum(in, c.axes, keep);
            BOOST_TEST((total.dtype() == dtype));
            BOOST_TEST(total.shape() == expected.shape());
            const auto a = ratel::to_vector<double>(total);
            for (size_t i = 0; i < a.size(); ++i)
              BOOST_CHECK_MESSAGE(std::abs(a[i] - b[i]) <= ulp(dtype) * s[i],
                                  c.path << " on " << device << ": " << a[i] << ' ' << b[i]);
            test::check_identical(max(in, c.axes, keep), largest, ratel::concat_text(c.path, " on ", device));
          }
      }
}

BOOST_AUTO_TEST_CASE(bf16_sums_are_kept_in_f32) {
  // A running bf16 sum of ones stops at 256.
  for (const ratel::Device device : test::devices()) {
    const Tensor x = ratel::ones({1000, 4}, DType::bf16, device);
    test::check_identical(sum(x, {0}), ratel::full({4}, 1000, DType::bf16), "columns");
    test::check_identical(sum(transpose(x, 0, 1), {1}), ratel::full({4}, 1000, DType::bf16), "rows");
    BOOST_TEST(sum(x).item() == 4000);
  }
}

BOOST_AUTO_TEST_CASE(mean_divides_by_the_count) {
  const Tensor x = test::randn({3, 4, 5}, 1);
  test::check_close(mean(x, {0, 2}), sum(x, {0, 2}) / 15, 1e-15, "mean");
  test::check_close(mean(x), sum(x) / 60, 1e-15, "mean of all");
  BOOST_TEST(mean(x, {1}, KeepDims::yes).shape() == (Shape{3, 1, 5}));
}

BOOST_AUTO_TEST_CASE(nothing_sums_to_zero_and_has_no_maximum) {
  const Tensor x = ratel::zeros({3, 0}, DType::f64);
  test::check_identical(sum(x, {1}), ratel::zeros({3}, DType::f64), "empty rows");
  test::check_identical(sum(ratel::zeros({0, 3}, DType::f64), {0}), ratel::zeros({3}, DType::f64), "empty columns");
  BOOST_TEST(sum(x).item() == 0);
  BOOST_TEST(max(x, {0}).numel() == 0);
  const Tensor empty_both = ratel::zeros({0, 0}, DType::f64);  // no rows: nobody asks for the maximum of one
  for (const Tensor& none : {max(empty_both, {1}), mean(empty_both, {1}), argmax(empty_both, 1)})
    BOOST_TEST(none.shape() == Shape{0});
  test::check_error([&] { argmax(x); }, "argmax: there is no maximum of nothing in shape (3, 0)");
  test::check_error([&] { max(x, {1}); }, "max: there is no maximum of nothing in shape (3, 0)");
  test::check_error([&] { mean(x, {1}); }, "mean: nothing to average in shape (3, 0)");
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (const Case& c : kCases) {
    if (c.shape.numel() > 1000) continue;
    const std::vector<Tensor> x{test::randn(c.shape, 1)};
    test::check_gradients_on_gpus([&](const auto& in) { return sum(in[0], c.axes); }, x, c.path);
    test::check_gradients_on_gpus([&](const auto& in) { return max(in[0], c.axes); }, x, c.path);
    test::gradcheck([&](const auto& in) { return sum(in[0], c.axes); }, x, std::string("sum, ") + c.path);
    test::gradcheck([&](const auto& in) { return sum(in[0], c.axes, KeepDims::yes); }, x, "sum keeping axes");
    test::gradcheck([&](const auto& in) { return max(in[0], c.axes); }, x, std::string("max, ") + c.path);
    if (c.shape.numel() > 0)
      test::gradcheck([&](const auto& in) { return mean(in[0], c.axes, KeepDims::yes); }, x, "mean");
  }
  test::gradcheck([](const auto& in) { return max(in[0], {0}, KeepDims::yes); },
                  {test::scattered(test::randn({3, 4}, 1))}, "max of strided");
}

BOOST_AUTO_TEST_CASE(the_first_of_equal_maxima_gets_the_gradient) {
  const Tensor x = requires_grad(ratel::from_vector<float>({1, 3, 3, 2, 2, 2}, {2, 3}));
  backward(max(x, {1}), ratel::from_vector<float>({5, 7}, {2}));
  test::check_identical(grad(x), ratel::from_vector<float>({0, 5, 0, 7, 0, 0}, {2, 3}), "ties");
}

BOOST_AUTO_TEST_CASE(argmax_is_the_first_maximum_of_every_row) {
  for (const ratel::Device device : test::devices()) {
    const double nan = std::nan("");
    const Tensor ties =
        to(ratel::from_vector<float>({1, 3, 3, 2, 2, 2, 0, static_cast<float>(nan), 9}, {3, 3}), device);
    test::check_identical(to(argmax(ties), ratel::kCpu), ratel::from_vector<int64_t>({1, 0, 1}, {3}), "ties, a NaN");
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16})
      for (const Shape& shape : {Shape{1}, Shape{3, 1}, Shape{5, 7}, Shape{2, 1023}, Shape{3, 1025}, Shape{3, 4, 65}})
        for (int axis = 0; axis < shape.rank(); ++axis) {
          const Tensor x = to(test::randn(shape, 1, dtype), device);
          for (const Tensor& in : {x, test::scattered(x)}) {
            const Tensor at = argmax(in, axis, KeepDims::yes);
            BOOST_TEST((at.dtype() == DType::i64));
            // What stands there is the maximum: found by walking over the elements.
            const auto positions = ratel::to_vector<int64_t>(at);
            const auto largest = ratel::to_vector<double>(max(in, {axis}, KeepDims::yes));
            const auto values = ratel::to_vector<double>(in);
            int64_t inner = 1;
            for (int after = axis + 1; after < shape.rank(); ++after) inner *= shape[after];
            for (size_t i = 0; i < positions.size(); ++i) {
              const auto row = static_cast<int64_t>(i) / inner, column = static_cast<int64_t>(i) % inner;
              BOOST_TEST(values[static_cast<size_t>((row * shape[axis] + positions[i]) * inner + column)] ==
                         largest[i]);
            }
            test::check_identical(argmax(in, axis - shape.rank()), reshape(at, argmax(in, axis).shape()),
                                  "kept or not");
          }
        }
  }
}

BOOST_AUTO_TEST_CASE(sum_to_reverses_broadcasting) {
  const Tensor x = test::randn({2, 3, 4}, 1);
  for (const Shape& shape : {Shape{2, 3, 4}, Shape{3, 4}, Shape{4}, Shape{}, Shape{1}, Shape{3, 1}, Shape{2, 1, 4},
                             Shape{1, 3, 1}, Shape{1, 1, 1}}) {
    const Tensor y = sum_to(x, shape);
    BOOST_TEST(y.shape() == shape);
    // <sum_to(x), y> = <x, broadcast(y)>
    const Tensor probe = test::randn(shape, 2);
    test::check_close(sum(y * probe), sum(x * broadcast_to(probe, x.shape())), 1e-13, "adjoint");
    test::gradcheck([&](const auto& in) { return sum_to(in[0], shape); }, {x}, "sum_to");
  }
  BOOST_TEST(is_same_tensor(sum_to(x, x.shape()), x));
  test::check_error([&] { sum_to(x, {5}); }, "sum_to");
  test::check_error([&] { sum_to(ratel::ones({3}), {2, 3}); }, "sum_to: shape (2, 3) does not broadcast to (3)");
}

BOOST_AUTO_TEST_CASE(a_nan_anywhere_is_the_maximum_and_gets_the_gradient) {
  for (const ratel::Device device : test::devices())
    for (const int64_t n : {1, 2, 33, 70})
      for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
        auto values = std::vector<double>(static_cast<size_t>(n), 1.0);
        values[static_cast<size_t>(n / 3)] = 5;
        values[static_cast<size_t>(at)] = std::nan("");
        const Tensor x = requires_grad(to(ratel::from_vector(values, {n}, DType::f32), device));
        const Tensor y = max(x);
        BOOST_TEST(std::isnan(to(detach(y), ratel::kCpu).item()));
        backward(y);
        BOOST_TEST(ratel::to_vector<double>(grad(x))[static_cast<size_t>(at)] == 1);
      }
}

BOOST_AUTO_TEST_CASE(global_norm_of_many_tensors) {
  const Tensor a = ratel::full({3, 4}, 2, DType::f64), b = ratel::full({40000}, 0.5, DType::bf16);
  BOOST_TEST(ratel::global_norm({a, Tensor(), b, ratel::zeros({0})}) == std::sqrt(48 + 10000.0));
  BOOST_TEST(ratel::global_norm({}) == 0);
  BOOST_TEST(std::isnan(ratel::global_norm({ratel::full({2}, std::nan(""))})));
  // Squares are summed in f64: f32 would overflow.
  BOOST_TEST(std::isfinite(ratel::global_norm({ratel::full({100}, 1e30)})));
  BOOST_TEST(ratel::global_norm({transpose(a, 0, 1)}) == std::sqrt(48.0));
}

BOOST_AUTO_TEST_CASE(threads_do_not_matter) {
  const Tensor x = test::randn({300, 517}, 1, DType::f32);
  for (const std::vector<int>& axes : {std::vector<int>{}, {0}, {1}}) {
    test::check_thread_independent([&] { return sum(x, axes); }, "sum");
    test::check_thread_independent([&] { return max(x, axes); }, "max");
  }
  test::check_thread_independent([&] { return ratel::scalar(ratel::global_norm({x}), DType::f64); }, "norm");
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = test::randn({2, 3}, 1);
  test::check_error([&] { sum(x, {2}); }, "sum: axis 2 does not exist in shape (2, 3)");
  test::check_error([&] { mean(x, {-3}); }, "mean: axis -3 does not exist in shape (2, 3)");
  test::check_error([&] { argmax(x, 2); }, "argmax: axis 2 does not exist in shape (2, 3)");
  test::check_error([&] { argmax(to(x, DType::i64)); }, "argmax: expected a float dtype, found i64");
  test::check_error([&] { max(x, {1, -1}); }, "max: axis -1 is given twice");
  test::check_error([&] { mean(to(x, DType::i64)); }, "mean: expected a float dtype, found i64");
}
