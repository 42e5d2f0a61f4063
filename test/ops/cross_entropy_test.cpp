#include "ops/cross_entropy.h"

#include <cmath>
#include <limits>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/softmax.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::kIgnoreIndex;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

struct Case {
  const char* path;
  Shape labels;
  int64_t V;
};

// The kernel's paths: whole registers, the elements that do not fill one, rows that start between registers, several
// pieces of 16384 elements.
const Case kCases[] = {
    {"one position, rank 1 logits", {}, 5},
    {"one short of a register", {5}, 15},
    {"a register", {5}, 16},
    {"one past a register", {2, 3}, 17},
    {"bytes and end of text, several pieces", {7, 10}, 257},
    {"a row longer than a piece", {2}, 20001},
    // On a GPU: 256 threads a block, at 4 f32 or 8 bf16 each where rows begin at multiples of 16 bytes.
    {"vectors, the last threads of a warp idle", {3}, 136},
    {"more vectors than threads", {2}, 2056},
};

Shape with_classes(const Shape& labels, int64_t V) {
  Shape shape = labels;
  shape.push_back(V);
  return shape;
}

/// Random labels, the third of every four ignored.
Tensor some_labels(const Shape& shape, int64_t V) {
  ratel::Rng rng(5);
  Tensor labels = random_integers(shape, rng, V);
  for (int64_t i = 2; i < labels.numel(); i += 4) labels.data<int64_t>()[i] = kIgnoreIndex;
  return labels;
}

test::TensorFunction op(const Tensor& labels) {
  return [labels](const std::vector<Tensor>& x) { return cross_entropy(x[0], moved_to(labels, x[0].device())); };
}
test::TensorFunction reference(const Tensor& labels) {
  return [labels](const std::vector<Tensor>& x) { return cross_entropy_reference(x[0], labels); };
}

}  // namespace

BOOST_AUTO_TEST_CASE(agrees_with_the_reference) {
  for (const Case& c : kCases)
    for (const double scale : {0.3, 10.0}) {  // near the uniform distribution, and confident
      const Tensor labels = some_labels(c.labels, c.V), logits = test::randn(with_classes(c.labels, c.V), 1) * scale;
      test::check_against_reference(op(labels), reference(labels), {logits}, c.path);
    }
  const Tensor labels = some_labels({3, 4}, 21), logits = test::randn({3, 4, 21}, 2);
  for (const Tensor& as : {test::scattered(labels), to(labels, DType::i32), test::scattered(to(labels, DType::i32))})
    test::check_against_reference(op(as), reference(labels), {test::scattered(logits)}, "strided");
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensor loss = cross_entropy(to(logits, dtype), labels);
    BOOST_TEST((loss.dtype() == accumulate_dtype(dtype) && loss.rank() == 0));
  }
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (const Case& c : kCases)
    if (c.V < 1000)
      test::gradcheck(op(some_labels(c.labels, c.V)), {test::randn(with_classes(c.labels, c.V), 3)}, c.path);
  const Tensor labels = some_labels({3, 4}, 5);
  test::gradcheck(op(labels), {test::scattered(test::randn({3, 4, 5}, 4))}, "strided");
  test::gradcheck([=](const auto& x) { return cross_entropy(x[0], labels) * cross_entropy(x[0] * 2, labels); },
                  {test::randn({3, 4, 5}, 5)}, "the same logits twice");
}

BOOST_AUTO_TEST_CASE(token_losses_are_the_terms_of_the_mean) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensor labels = some_labels({4, 5}, 17), logits = test::randn({4, 5, 17}, 1, dtype);
    const Tensor losses = token_losses(logits, labels);
    BOOST_TEST((losses.shape() == labels.shape() && losses.dtype() == accumulate_dtype(dtype)));
    const auto each = ratel::to_vector<double>(losses),
               logs = ratel::to_vector<double>(log_softmax(to(logits, DType::f64)));
    double total = 0, counted = 0;
    for (size_t i = 0; i < each.size(); ++i) {
      const int64_t label = labels.data<int64_t>()[i];
      const double expected = label == kIgnoreIndex ? 0 : -logs[i * 17 + static_cast<size_t>(label)];
      BOOST_TEST(std::abs(each[i] - expected) <= 1e-6 * expected);
      total += expected;
      counted += label != kIgnoreIndex;
    }
    BOOST_TEST(cross_entropy(logits, labels).item() == total / counted, boost::test_tools::tolerance(1e-6));
    BOOST_TEST(!needs_grad(token_losses(requires_grad(clone(logits)), labels)));
  }
}

BOOST_AUTO_TEST_CASE(ignored_labels_count_for_nothing) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensor logits = requires_grad(test::randn({3, 17}, 1, dtype));
    const Tensor none = ratel::full({3}, kIgnoreIndex, DType::i64);
    const Tensor loss = cross_entropy(logits, none);
    BOOST_TEST(loss.item() == 0);
    backward(loss);
    test::check_close(grad(logits), ratel::zeros({3, 17}), 0, "no gradient");
    // What an ignored row holds does not matter, not even NaN.
    const Tensor poisoned = clone(detach(logits));
    copy_into(slice(poisoned, 0, 1, 2), ratel::full({1, 17}, std::numeric_limits<double>::quiet_NaN(), dtype));
    const Tensor labels = ratel::from_vector<int64_t>({3, kIgnoreIndex, 16}, {3});
    const Tensor one = ratel::full({}, 1, accumulate_dtype(dtype));
    for (const ratel::Device device : test::devices()) {
      const auto clean = test::gradients(op(labels), {logits}, one, device);
      const auto with_nan = test::gradients(op(labels), {poisoned}, one, device);
      test::check_identical(with_nan.out, clean.out, ratel::concat_text("loss on ", device));
      test::check_identical(with_nan.grads[0], clean.grads[0], ratel::concat_text("gradient on ", device));
      test::check_close(slice(clean.grads[0], 0, 1, 2), ratel::zeros({1, 17}), 0, "no gradient of an ignored row");
    }
  }
  const Tensor empty = requires_grad(ratel::zeros({0, 4}));
  const Tensor loss = cross_entropy(empty, ratel::zeros({0}, DType::i64));
  BOOST_TEST(loss.item() == 0);
  backward(loss);
}

BOOST_AUTO_TEST_CASE(huge_logits_keep_their_loss_and_gradient) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const DType wide = accumulate_dtype(dtype);
    std::vector<double> values(40, -3e4);
    values[3] = 3e4;
    values[20] = values[21] = 3e4;
    const Tensor logits = ratel::from_vector(values, {2, 20}, dtype), labels = ratel::from_vector<int64_t>({7, 0}, {2});
    for (const ratel::Device device : test::devices()) {
      const auto losses = ratel::to_vector<double>(token_losses(moved_to(logits, device), moved_to(labels, device)));
      BOOST_TEST(losses[0] == 2 * ratel::to_vector<double>(logits)[3]);
      BOOST_TEST(losses[1] == std::log(2), boost::test_tools::tolerance(1e-6));
      const auto g =
          ratel::to_vector<double>(test::gradients(op(labels), {logits}, ratel::full({}, 2, wide), device).grads[0]);
      for (size_t i = 0; i < 40; ++i) {
        const double expected = i == 3 ? 1 : i == 7 ? -1 : i == 20 ? -0.5 : i == 21 ? 0.5 : 0;
        BOOST_TEST(g[i] == expected, boost::test_tools::tolerance(1e-6));
      }
    }
  }
  // An offset common to all logits changes nothing: maximum and logarithm are kept apart.
  const Tensor base = to(test::randn({6, 33}, 1, DType::bf16), DType::f32), labels = some_labels({6}, 33);
  const Tensor moved = base + 65536.0;  // bf16 values below 4 keep most digits at this distance
  const auto exact = test::gradients(op(labels), {to(moved, DType::f64)}, ratel::full({}, 1, DType::f64));
  for (const ratel::Device device : test::devices()) {
    const auto near = test::gradients(op(labels), {base}, ratel::full({}, 1), device);
    const auto far = test::gradients(op(labels), {moved}, ratel::full({}, 1), device);
    test::check_close(far.out, exact.out, 1e-6, ratel::concat_text("loss at an offset on ", device));
    test::check_close(far.grads[0], exact.grads[0], 1e-6, ratel::concat_text("gradient at an offset on ", device));
    test::check_close(near.out, exact.out, 1e-2, ratel::concat_text("loss on ", device));
  }
}

BOOST_AUTO_TEST_CASE(masked_and_broken_logits) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor labels = ratel::from_vector<int64_t>({0}, {1});
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensor masked = ratel::from_vector<double>({1, -inf, 1, -inf}, {1, 4}, dtype);
    const Tensor impossible = ratel::from_vector<double>({-inf, 1, 1, 1}, {1, 4}, dtype);
    const Tensor broken = ratel::from_vector<double>({1, nan, 1, 1}, {1, 4}, dtype);
    for (const ratel::Device device : test::devices()) {
      const auto g = test::gradients(op(labels), {masked}, ratel::full({}, 1, accumulate_dtype(dtype)), device);
      BOOST_TEST(g.out.item() == std::log(2), boost::test_tools::tolerance(1e-6));
      test::check_close(g.grads[0], ratel::from_vector<double>({-0.5, 0, 0.5, 0}, {1, 4}), 1e-6,
                        ratel::concat_text("masked on ", device));
      BOOST_TEST(op(labels)({moved_to(impossible, device)}).item() == inf);
      BOOST_TEST(std::isnan(op(labels)({moved_to(broken, device)}).item()));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_number_of_threads_changes_no_bit) {
  const Tensor logits = test::randn({300, 257}, 1, DType::f32), labels = some_labels({300}, 257);
  test::check_thread_independent([&] { return cross_entropy(logits, labels); }, "loss");
  test::check_thread_independent([&] { return test::gradients(op(labels), {logits}).grads[0]; }, "gradient");
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor logits = test::randn({2, 3, 5}, 1), labels = ratel::zeros({2, 3}, DType::i64);
  const Tensor wrong = clone(labels);
  wrong.data<int64_t>()[4] = 5;
  test::check_error([&] { cross_entropy(logits, wrong); },
                    "cross_entropy: label 5 at (1, 1) is neither in [0, 5) nor -100 (ignored)");
  wrong.data<int64_t>()[2] = -1;
  test::check_error([&] { token_losses(logits, to(wrong, DType::i32)); }, "token_losses: label -1 at (0, 2)");
  test::check_error(
      [&] {
        cross_entropy(logits, ratel::zeros({2, 2}, DType::i64));
      },
      "cross_entropy: expected logits (..., V) and labels (...), found (2, 3, 5) and (2, 2)");
  test::check_error(
      [&] {
        cross_entropy(logits, ratel::zeros({2, 3, 5}, DType::i64));
      },
      "found (2, 3, 5) and (2, 3, 5)");
  test::check_error([&] { cross_entropy(logits, ratel::zeros({2, 3})); }, "expected labels i64 or i32, found f32");
  test::check_error([&] { cross_entropy(Tensor(), labels); }, "cross_entropy: an undefined tensor");
  test::check_error([&] { token_losses(logits, Tensor()); }, "token_losses: an undefined tensor");
  test::check_error([&] { cross_entropy(labels, labels); }, "expected logits of a float dtype, found i64");
  test::check_error(
      [&] {
        cross_entropy(ratel::zeros({2, 0}), ratel::zeros({2}, DType::i64));
      },
      "found (2, 0) and (2)");
}
