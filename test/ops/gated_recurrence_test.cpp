#include "ops/gated_recurrence.h"

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/unary.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/golden.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

struct Case {
  const char* path;
  int64_t B, T, C;
};

// On the CPU a task owns a strip of 128 to 1024 channels, narrower where more threads want work; backward works in
// chunks of 32 tokens. On a GPU a block owns 64 channels and reads tiles of 16 (bf16), 8 (f32) or 4 (f64) tokens, in
// 16 bytes where rows allow it; of bf16 128 channels where those are 128 blocks and keep multiprocessors busy.
const Case kCases[] = {
    {"one token, one channel", 1, 1, 1},
    {"one short of a chunk", 2, 31, 5},
    {"a chunk", 1, 32, 3},
    {"one past a chunk", 2, 33, 3},
    {"several chunks, ragged", 2, 101, 7},
    {"one short of the narrowest strip", 1, 5, 127},
    {"the narrowest strip", 1, 6, 128},
    {"one strip or two, by the threads", 2, 40, 129},
    {"one past the widest strip, several chunks", 1, 70, 1025},
    {"rows of whole 16 bytes, more tiles than a GPU's block holds", 1, 83, 136},
    {"time cut into ragged segments on a GPU", 1, 389, 2},
};

std::vector<Tensor> inputs_of(const Case& c) {
  return {sigmoid(test::randn({c.B, c.T, c.C}, 1) * 2), test::randn({c.B, c.T, c.C}, 2), test::randn({c.B, c.C}, 3)};
}

/// Both outputs in one tensor, so that a cotangent reaches both: h and, as one more token, the last state.
Tensor joined(const ratel::RecurrenceResult& r) {
  return ratel::concat({r.h, to(reshape(r.last, {r.last.dim(0), 1, r.last.dim(1)}), r.h.dtype())}, 1);
}

/// `initial` stays in the state's dtype when the others are rounded to bf16.
Tensor state(const Tensor& initial) {
  return initial.defined() ? to(initial, accumulate_dtype(initial.dtype())) : initial;
}

const test::TensorFunction kOp = [](const auto& x) { return joined(gated_recurrence(x[0], x[1], state(x[2]))); };
const test::TensorFunction kReference = [](const auto& x) {
  return joined(gated_recurrence_reference(x[0], x[1], state(x[2])));
};

}  // namespace

BOOST_AUTO_TEST_CASE(equals_its_reference_on_every_path) {
  for (const Case& c : kCases) {
    test::check_against_reference(kOp, kReference, inputs_of(c), c.path);
    auto from_zeros = inputs_of(c);
    from_zeros[2] = Tensor();
    test::check_against_reference(kOp, kReference, from_zeros, std::string(c.path) + ", from zeros");
  }
}

BOOST_AUTO_TEST_CASE(blocks_of_128_channels_err_at_most_twice_as_much_as_the_composed_version) {
  test::check_rounding_on_gpus(kOp, kReference, inputs_of({"", 64, 18, 136}), DType::bf16, "the second block ragged");
}

BOOST_AUTO_TEST_CASE(goldens) {
  for (const ratel::Device device : test::devices())
    for (const char* name : {"gated_recurrence_small", "gated_recurrence_odd", "gated_recurrence_long"}) {
      const test::Golden golden(name);
      const auto [h, grads] =
          test::gradients([](const auto& x) { return gated_recurrence(x[0], x[1], x[2]).h; },
                          {golden["gate"], golden["x"], golden["initial"]}, golden["grad_h"], device);
      const std::string what = ratel::concat_text(name, " on ", device);
      test::check_close(h, golden["h"], 1e-10, what + " h");
      test::check_close(grads[0], golden["grad_gate"], 1e-9, what + " grad_gate");
      test::check_close(grads[1], golden["grad_x"], 1e-9, what + " grad_x");
      test::check_close(grads[2], golden["grad_initial"], 1e-9, what + " grad_initial");
    }
}

BOOST_AUTO_TEST_CASE(gradients) {
  test::gradcheck(kOp, inputs_of({"", 2, 35, 3}), "all inputs");
  auto from_zeros = inputs_of({"", 1, 9, 4});
  from_zeros.pop_back();
  test::gradcheck([](const auto& x) { return gated_recurrence(x[0], x[1]).h; }, from_zeros, "h alone, from zeros");
  test::gradcheck([](const auto& x) { return gated_recurrence(x[0], x[1], x[2]).last; }, inputs_of({"", 2, 34, 2}),
                  "the last state alone");
  test::gradcheck([](const auto& x) { return gated_recurrence(x[0], x[0]).h; }, {sigmoid(test::randn({1, 6, 3}, 5))},
                  "one tensor as gate and x");
}

BOOST_AUTO_TEST_CASE(gpus_leave_out_what_nobody_gives_or_wants) {
  const auto inputs = inputs_of({"", 2, 37, 5});
  const test::TensorFunction h = [](const auto& x) { return gated_recurrence(x[0], x[1], x[2]).h; };
  const test::TensorFunction last = [](const auto& x) { return gated_recurrence(x[0], x[1], x[2]).last; };
  test::on_gpus([&](ratel::Device gpu) {
    for (const auto& f : {h, last}) {
      const auto expected = test::gradients(f, inputs), all = test::gradients(f, inputs, {}, gpu);
      for (size_t i = 0; i < inputs.size(); ++i) {
        const std::string what = "gradient " + std::to_string(i);
        test::check_close(all.grads[i], expected.grads[i], 1e-13, what + " of one output alone");
        std::vector<Tensor> leaves;
        for (size_t j = 0; j < inputs.size(); ++j)
          leaves.push_back(requires_grad(moved_to(ratel::detach(inputs[j]), gpu), j == i));
        const Tensor out = f(leaves);
        backward(out, moved_to(test::randn(out.shape(), 99), gpu));
        test::check_identical(moved_to(grad(leaves[i]), ratel::kCpu), all.grads[i], what + " alone");
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(a_sequence_cut_in_two_gives_the_same_numbers) {
  const auto x = inputs_of({"", 2, 77, 130});
  const auto whole = gated_recurrence(x[0], x[1], x[2]);
  for (const int64_t cut : {1, 32, 40, 76}) {
    const auto first = gated_recurrence(slice(x[0], 1, 0, cut), slice(x[1], 1, 0, cut), x[2]);
    const auto second = gated_recurrence(slice(x[0], 1, cut, 77), slice(x[1], 1, cut, 77), first.last);
    test::check_identical(ratel::concat({first.h, second.h}, 1), whole.h, "cut at " + std::to_string(cut));
    test::check_identical(second.last, whole.last, "last state, cut at " + std::to_string(cut));
  }
}

BOOST_AUTO_TEST_CASE(gates_of_zero_and_one_pass_and_hold) {
  for (const int64_t T : {40, 300})  // on a GPU the longer one in segments of time
    for (const DType dtype : {DType::f64, DType::bf16})
      for (const ratel::Device device : test::devices()) {
        const Tensor x = test::randn({1, T, 3}, 1, dtype), initial = test::randn({1, 3}, 2, accumulate_dtype(dtype));
        const auto with_gate = [&](double gate) {
          return gated_recurrence(ratel::full({1, T, 3}, gate, dtype, device), moved_to(x, device),
                                  moved_to(initial, device));
        };
        const std::string what = ratel::concat_text(T, " tokens in ", dtype, " on ", device);
        test::check_identical(moved_to(with_gate(0).h, ratel::kCpu), x, "gate 0: h = x, " + what);
        test::check_identical(moved_to(with_gate(1).last, ratel::kCpu), initial, "gate 1: h = initial, " + what);
      }
}

BOOST_AUTO_TEST_CASE(reads_slices_in_place) {
  const Tensor all = test::randn({2, 45, 30}, 1);
  const auto parts = split(sigmoid(all), 2, 2);
  const std::vector<Tensor> views{parts[0], slice(all, 2, 15, 30), test::randn({2, 15}, 3)};
  BOOST_TEST(!views[0].is_contiguous());
  test::check_against_reference(kOp, kReference, views, "slices of wider rows");
  // Of one channel every layout is contiguous along it.
  const auto turned = [](uint64_t seed) { return transpose(test::randn({2, 1, 45}, seed), 1, 2); };
  const Tensor gate = transpose(sigmoid(test::randn({2, 1, 45}, 1)), 1, 2);
  BOOST_TEST(gate.stride(2) == 45);
  test::check_against_reference(kOp, kReference, {gate, turned(2), test::randn({2, 1}, 3)}, "one channel, turned");
}

BOOST_AUTO_TEST_CASE(reads_an_initial_state_of_any_layout) {
  const auto stretched = [](const test::TensorFunction& f) {
    return [&f](const std::vector<Tensor>& x) {
      return f({x[0], x[1], broadcast_to(x[2], {x[0].dim(0), x[0].dim(2)})});
    };
  };
  auto x = inputs_of({"", 3, 33, 5});
  x[2] = test::randn({5}, 3);
  test::check_against_reference(stretched(kOp), stretched(kReference), x, "one learned state for all sequences");
  x[2] = transpose(test::randn({5, 3}, 3), 0, 1);
  test::check_against_reference(kOp, kReference, x, "a transposed state");
}

BOOST_AUTO_TEST_CASE(independent_of_threads) {
  const auto x = inputs_of({"", 3, 70, 300});
  test::check_thread_independent([&] { return joined(gated_recurrence(x[0], x[1], x[2])); }, "forward");
  for (const size_t i : {0U, 1U, 2U})
    test::check_thread_independent([&] { return test::gradients(kOp, x).grads[i]; }, "backward");
}

BOOST_AUTO_TEST_CASE(of_no_sequences_there_is_nothing) {
  for (const ratel::Device device : test::devices()) {
    const Tensor none = ratel::empty({0, 4, 3}, DType::f32, device);
    BOOST_TEST(gated_recurrence(none, none).h.shape() == (ratel::Shape{0, 4, 3}));
  }
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const auto x = inputs_of({"", 2, 5, 4});
  test::check_error([&] { gated_recurrence(slice(x[0], 1, 0, 4), x[1]); },
                    "gated_recurrence: expected gate and x of one shape (B, T, C), found (2, 4, 4) and (2, 5, 4)");
  test::check_error([&] { gated_recurrence(to(x[0], DType::f32), x[1]); }, "one float dtype, found f32 and f64");
  test::check_error([&] { gated_recurrence(x[0], x[1], slice(x[2], 0, 0, 1)); },
                    "expected initial of shape (2, 4) f64");
  test::check_error([&] { gated_recurrence(x[0], x[1], to(x[2], DType::f32)); }, "found (2, 4) f32");
  test::check_error([&] { gated_recurrence(transpose(x[0], 1, 2), transpose(x[1], 1, 2)); }, "must be contiguous");
  test::check_error([&] { gated_recurrence(slice(x[0], 1, 0, 0), slice(x[1], 1, 0, 0)); }, "at least one token");
}
