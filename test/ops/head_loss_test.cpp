#include "ops/head_loss.h"

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/cross_entropy.h"
#include "ops/matmul.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::kIgnoreIndex;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

/// Random labels, the third of every four ignored.
Tensor some_labels(const Shape& shape, int64_t V) {
  ratel::Rng rng(5);
  Tensor labels = random_integers(shape, rng, V);
  for (int64_t i = 2; i < labels.numel(); i += 4) labels.data<int64_t>()[i] = kIgnoreIndex;
  return labels;
}

test::TensorFunction op(const Tensor& labels, int64_t chunk) {
  return [=](const std::vector<Tensor>& x) { return head_loss(x[0], x[1], moved_to(labels, x[0].device()), chunk); };
}
test::TensorFunction reference(const Tensor& labels) {
  return [labels](const std::vector<Tensor>& x) { return head_loss_reference(x[0], x[1], labels); };
}

}  // namespace

BOOST_AUTO_TEST_CASE(agrees_with_the_reference) {
  struct Case {
    const char* path;
    Shape labels;
    int64_t V, C, chunk;
  };
  for (const Case& c : {Case{"one token", {}, 7, 5, 0}, Case{"all tokens at once", {3, 5}, 17, 8, 0},
                        Case{"chunks, the last ragged", {3, 5}, 17, 8, 4}, Case{"a token at a time", {5}, 9, 4, 1}}) {
    const Tensor labels = some_labels(c.labels, c.V);
    Shape shape = c.labels;
    shape.push_back(c.C);
    test::check_against_reference(op(labels, c.chunk), reference(labels),
                                  {test::randn(shape, 1), test::randn({c.V, c.C}, 2)}, c.path);
  }
  const Tensor labels = some_labels({2, 3}, 6);
  test::check_against_reference(op(labels, 4), reference(labels),
                                {test::scattered(test::randn({2, 3, 4}, 3)), test::scattered(test::randn({6, 4}, 4))},
                                "strided");
}

BOOST_AUTO_TEST_CASE(gradients) {
  const Tensor labels = some_labels({2, 5}, 6);
  for (const int64_t chunk : {0, 3})
    test::gradcheck(op(labels, chunk), {test::randn({2, 5, 4}, 1), test::randn({6, 4}, 2)}, "x and weight");
  test::gradcheck([&](const auto& x) { return head_loss(x[0], x[0] * 2, some_labels({6}, 6), 4) * 3; },
                  {test::randn({6, 4}, 3)}, "the same twice, of an op");
}

BOOST_AUTO_TEST_CASE(it_keeps_no_logits) {
  const Tensor x = requires_grad(test::randn({8, 4}, 1, DType::bf16));
  const Tensor weight = requires_grad(test::randn({5, 4}, 2, DType::bf16)), labels = some_labels({8}, 5);
  const Tensor loss = head_loss(x, weight, labels, 3);
  BOOST_TEST((loss.dtype() == DType::f32 && loss.rank() == 0));
  backward(loss);
  BOOST_TEST((grad(weight).dtype() == DType::f32));
  {
    const ratel::NoGrad no_grad;
    test::check_identical(head_loss(x, weight, labels, 3), detach(loss), "the loss alone");
  }
  // Every label ignored.
  const Tensor none = head_loss(x, weight, ratel::full({8}, kIgnoreIndex, DType::i64));
  BOOST_TEST(none.item() == 0);
}

BOOST_AUTO_TEST_CASE(labels_counted_before_weigh_what_their_share_says) {
  const Tensor labels = some_labels({2, 5}, 6), x = test::randn({2, 5, 4}, 1, DType::f32);
  const Tensor weight = test::randn({6, 4}, 2, DType::f32);
  for (const ratel::Device device : test::devices()) {
    const auto counted = [&](double factor) {  // powers of two change no digit
      auto result = ratel::count_labels("test", moved_to(labels, device), 6, device);
      BOOST_TEST(result.share.item() == 1.0 / 8);
      result.share = result.share * factor;
      return result;
    };
    const auto plain = test::gradients(op(labels, 3), {x, weight}, {}, device);
    for (const double factor : {1.0, 0.25}) {
      const auto found = test::gradients([&](const auto& in) { return head_loss(in[0], in[1], counted(factor), 3); },
                                         {x, weight}, {}, device);
      test::check_identical(found.out, plain.out * factor, "loss");
      test::check_identical(found.grads[0], plain.grads[0] * factor, "x");
      test::check_identical(found.grads[1], plain.grads[1] * factor, "weight");
    }
  }
}

BOOST_AUTO_TEST_CASE(chunks_are_summed_in_f32_without_rounding_any) {
  const Tensor labels = some_labels({16}, 33);
  const std::vector<Tensor> in{test::randn({16, 24}, 1, DType::bf16), test::randn({33, 24}, 2, DType::bf16)};
  // Few rows make the same logits however many they are: what differs is the sum over chunks.
  const auto gradient = [&](int64_t chunk) { return test::gradients(op(labels, chunk), in).grads[1]; };
  const Tensor whole = gradient(16);
  for (const int64_t chunk : {1, 5}) test::check_close(gradient(chunk), whole, 1e-6, "the weight's gradient");
}

BOOST_AUTO_TEST_CASE(a_part_of_a_batch_weighs_in_f32) {
  const Tensor labels = some_labels({16}, 33), third = ratel::full({}, 1.0 / 3, DType::f32);
  const std::vector<Tensor> in{test::randn({16, 24}, 1, DType::bf16), test::randn({33, 24}, 2, DType::bf16)};
  const Tensor whole = test::gradients(op(labels, 16), in, ratel::ones({}, DType::f32)).grads[0];
  const Tensor part = test::gradients(op(labels, 16), in, third).grads[0];
  test::check_identical(to(part, DType::bf16), to(whole * third, DType::bf16), "x");
}

BOOST_AUTO_TEST_CASE(threads_do_not_matter) {
  const Tensor labels = some_labels({50}, 33);
  const std::vector<Tensor> in{test::randn({50, 24}, 1, DType::f32), test::randn({33, 24}, 2, DType::f32)};
  for (const size_t input : {0, 1})
    test::check_thread_independent([&] { return test::gradients(op(labels, 16), in).grads[input]; }, "gradient");
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = test::randn({3, 4}, 1), weight = test::randn({5, 4}, 2), labels = some_labels({3}, 5);
  test::check_error(
      [&] {
        head_loss(x, test::randn({5, 3}, 2), labels);
      },
      "head_loss: expected x (..., C) and weight (V, C), found (3, 4) and (5, 3)");
  test::check_error([&] { head_loss(x, to(weight, DType::f32), labels); }, "one float dtype, found f64 and f32");
  test::check_error([&] { head_loss(x, weight, some_labels({4}, 5)); }, "expected x (..., C) and labels (...)");
  test::check_error([&] { head_loss(x, weight, ratel::full({3}, 5, DType::i64)); }, "head_loss: label 5 at (0)");
  test::check_error(
      [&] {
        head_loss(x, weight, ratel::CountedLabels{labels, ratel::ones({}, DType::f32)});
      },
      "expected counted labels as contiguous i64 and their share as one f64 on cpu");
  test::check_error([&] { head_loss(x, weight, labels, -1); }, "expected a chunk of 0 or more tokens, found -1");
}
