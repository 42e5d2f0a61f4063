#include "autograd/engine.h"
#include "autograd/checkpoint.h"

#include <thread>

#include "autograd/grad_mode.h"
#include "autograd/node.h"
#include "core/memory.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "ops/view.h"
#include "test/support/compare.h"

using ratel::DType;
using ratel::Grads;
using ratel::Needs;
using ratel::Tape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

Tensor leaf(const std::vector<double>& values) {
  const auto n = static_cast<int64_t>(values.size());
  return requires_grad(ratel::from_vector(values, {n}));
}

void check_grad(const Tensor& x, const std::vector<double>& expected) {
  BOOST_REQUIRE(grad(x).defined());
  BOOST_TEST(ratel::to_vector<double>(grad(x)) == expected);
}

/// An op named "probe" that copies x and whose backward is given.
Tensor probe(const Tensor& x, std::function<Grads(const Tensor&, const Needs&)> backward) {
  return record(clone(detach(x)), "probe", {x}, std::move(backward));
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_diamond_sums_both_paths_once) {
  const Tensor x = leaf({2, 3});
  const Tensor y = x * x;
  backward(sum(y + y * y));  // x^2 + x^4: 2x + 4x^3
  check_grad(x, {36, 114});
}

BOOST_AUTO_TEST_CASE(an_op_runs_once_after_all_its_consumers) {
  // Consumers recorded early and late, at different depths.
  const Tensor x = leaf({2});
  int calls = 0;
  const Tensor y = probe(x, [&](const Tensor& grad, const Needs&) -> Grads { return ++calls, Grads{grad}; });
  const Tensor early = y * 2;
  Tensor late = y;
  for (int i = 0; i < 5; ++i) late = late * 3;
  backward(sum(early + late + y));
  check_grad(x, {2 + 243 + 1});
  BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_CASE(gradients_add_up_over_calls_and_handed_out_ones_stay) {
  const Tensor x = leaf({1, 2});
  backward(sum(x * x));
  const Tensor first = grad(x);
  backward(sum(x * 3));
  check_grad(x, {5, 7});
  BOOST_TEST(ratel::to_vector<double>(first) == (std::vector<double>{2, 4}));
  zero_grad(x);
  BOOST_TEST(!grad(x).defined());
  set_grad(x, ratel::from_vector<double>({10, 20}, {2}));
  backward(sum(x));
  check_grad(x, {11, 21});
}

BOOST_AUTO_TEST_CASE(a_tensor_handed_out_twice_is_not_written_to) {
  // add hands the same gradient to both sides, mul's neighbours then accumulate on one of them; the caller's own
  // gradient tensor must survive as well.
  const Tensor x = leaf({1}), y = leaf({1}), z = leaf({1});
  const Tensor seed = ratel::from_vector<double>({1}, {1});
  const Tensor s = x + y;
  backward(s + (s + z) + x, seed);
  check_grad(x, {3});
  check_grad(y, {2});
  check_grad(z, {1});
  BOOST_TEST(seed.item() == 1);
  backward(x, seed);  // a leaf may be a root
  backward(x, seed);
  check_grad(x, {5});
  BOOST_TEST(seed.item() == 1);
}

BOOST_AUTO_TEST_CASE(a_leafs_gradient_is_its_own) {
  const Tensor x = leaf({1, 2}), y = leaf({3, 4}), seed = ratel::ones({2}, DType::f64);
  backward(x + y, seed);
  fill_into(seed, 2);  // to be used again
  backward(x + y, seed);
  check_grad(x, {3, 3});
  zero_grad(x);
  zero_grad(y);
  backward(sum(x + y));
  fill_into(grad(x), 0);
  check_grad(y, {1, 1});
}

BOOST_AUTO_TEST_CASE(the_tape_is_consumed_unless_kept) {
  const Tensor x = leaf({3});
  const Tensor shared = x * x, one = sum(shared), two = sum(shared * 2);
  backward(one, {}, Tape::keep);
  backward(one, {}, Tape::keep);
  check_grad(x, {12});
  backward(one);
  check_grad(x, {18});
  test::check_error([&] { backward(one); }, "the tape of op sum was consumed by an earlier backward");
  test::check_error([&] { backward(two); }, "the tape of op mul was consumed by an earlier backward");
  // Truncated backpropagation through time: what goes on from a state that nobody detached reaches the step before.
  const Tensor state = x * 2;
  backward(sum(state));
  test::check_error([&] { backward(sum(state * x)); }, "detach() what was carried over from it");
  backward(sum(detach(state) * x));
}

BOOST_AUTO_TEST_CASE(what_was_saved_is_freed_with_the_tape) {
  const auto before = ratel::memory_use().live;
  {
    const Tensor x = requires_grad(ratel::ones({1000}, DType::f64));
    Tensor y = x;
    for (int i = 0; i < 10; ++i) y = y * y;
    const Tensor out = sum(y);
    y = {};
    BOOST_TEST(ratel::memory_use().live >= before + int64_t{10} * 8000);
    backward(out);
    BOOST_TEST(ratel::memory_use().live == before + 8000 + 8000 + 8);  // x, its gradient, out
  }
  BOOST_TEST(ratel::memory_use().live == before);
}

BOOST_AUTO_TEST_CASE(retained_gradients_of_intermediates) {
  const Tensor x = leaf({2}), y = x * x, z = y * 3;
  retain_grad(y);
  backward(sum(z) + sum(y), {}, Tape::keep);
  check_grad(y, {4});
  check_grad(x, {16});
  BOOST_TEST(!grad(z).defined());
  backward(sum(z * 1));
  check_grad(y, {7});
  test::check_error([] { retain_grad(ratel::ones({2})); }, "retain_grad: the tensor of shape (2) needs no gradient");
}

BOOST_AUTO_TEST_CASE(nothing_is_recorded_without_gradients) {
  const Tensor x = leaf({2});
  {
    const ratel::NoGrad guard;
    BOOST_TEST(!ratel::grad_enabled());
    BOOST_TEST(!needs_grad(x * x));
    {
      const ratel::GradMode on(true);
      BOOST_TEST(needs_grad(x * x));
    }
    BOOST_TEST(!ratel::grad_enabled());
    std::thread([] { BOOST_TEST(ratel::grad_enabled()); }).join();
  }
  BOOST_TEST(ratel::grad_enabled());
  try {
    const ratel::NoGrad guard;
    ratel::fail("out");
  } catch (const ratel::Error&) {
  }
  BOOST_TEST(ratel::grad_enabled());
  BOOST_TEST(needs_grad(x * x));
  BOOST_TEST(!needs_grad(detach(x) * 2));
  const Tensor plain = ratel::ones({1}, DType::f64);
  BOOST_TEST(!needs_grad(plain * plain));
  BOOST_TEST(is_leaf(plain * plain));
  BOOST_TEST(!is_leaf(x * plain));
  // Only what leads to a leaf is asked for.
  const Tensor product = record(ratel::ones({1}, DType::f64), "probe", {plain, x, Tensor()},
                                [](const Tensor& grad, const Needs& needs) -> Grads {
                                  BOOST_TEST(!needs[0]);
                                  BOOST_TEST(needs[1]);
                                  BOOST_TEST(!needs[2]);
                                  return {Tensor(), grad, Tensor()};
                                });
  backward(product);
  check_grad(x, {1});
}

BOOST_AUTO_TEST_CASE(several_outputs_and_undefined_gradients) {
  const Tensor x = leaf({1, 2}), y = leaf({3, 4});
  const auto split = [&](bool second_seen) {
    std::array<Tensor, 2> outputs{clone(detach(x)), clone(detach(y))};
    record(std::span<Tensor>(outputs), "pair", {x, y},
           [second_seen](std::span<const Tensor> grads, const Needs&) -> Grads {
             BOOST_TEST(grads[0].defined());
             BOOST_TEST(grads[1].defined() == second_seen);
             return {grads[0], grads[1]};  // an undefined one is a zero
           });
    return outputs;
  };
  backward(sum(split(false)[0] * 2));
  check_grad(x, {2, 2});
  BOOST_TEST(!grad(y).defined());
  zero_grad(x);
  const auto both = split(true);
  backward(sum(both[0] * both[1]));
  check_grad(x, {3, 4});
  check_grad(y, {1, 2});
}

BOOST_AUTO_TEST_CASE(several_roots_share_one_pass) {
  const Tensor x = leaf({2});
  int calls = 0;
  const Tensor y = probe(x, [&](const Tensor& grad, const Needs&) -> Grads { return ++calls, Grads{grad}; });
  const std::vector<Tensor> roots{y * 2, y * 3}, seeds{ratel::ones({1}, DType::f64), ratel::ones({1}, DType::f64)};
  static constexpr ratel::GradientOps kOps{[](const Tensor& a, const Tensor& b) { return a + b; }, ratel::add_into,
                                           [](const Tensor& g, DType dtype) { return contiguous(to(g, dtype)); },
                                           [](const Tensor& x) { return clone(x); }};
  run_backward(roots, seeds, Tape::consume, kOps);
  check_grad(x, {5});
  BOOST_TEST(calls == 1);
  test::check_error([&] { run_backward(roots, {}, Tape::consume, kOps); }, "2 tensors, but 0 gradients");
}

BOOST_AUTO_TEST_CASE(bf16_leaves_accumulate_in_f32) {
  const Tensor w = requires_grad(ratel::ones({4}, DType::bf16));
  for (const double g : {1.0, 0x1p-9, 0x1p-9}) backward(w * 1, ratel::full({4}, g, DType::bf16));
  BOOST_TEST((grad(w).dtype() == DType::f32));
  test::check_identical(grad(w), ratel::full({4}, 1 + 0x1p-8, DType::f32), "bf16 would have dropped the small ones");
  // A backward function may give a bf16 leaf an f32 gradient, but not another op's output.
  const auto wide = [](const Tensor& grad, const Needs&) -> Grads { return {to(grad, DType::f32)}; };
  backward(probe(w, wide), ratel::full({4}, 0x1p-8, DType::bf16));
  test::check_identical(grad(w), ratel::full({4}, 1 + 0x1p-7, DType::f32), "an f32 gradient");
  test::check_error([&] { backward(probe(w * 1, wide), ratel::ones({4}, DType::bf16)); },
                    "backward of probe: gradient of input 0: expected bf16 (4) on cpu, found f32 (4) on cpu");
}

BOOST_AUTO_TEST_CASE(a_backward_function_may_add_to_what_a_leaf_has_gathered) {
  int in_place = 0;
  const auto adding = [&](const Tensor& g, const Needs& needs) -> Grads {
    const Tensor gathered = needs.gathered(0);
    if (!gathered.defined()) return {to(g, needs.dtype(0))};
    BOOST_TEST(gathered.dtype() == needs.dtype(0));
    add_into(gathered, g);
    ++in_place;
    return {gathered};
  };
  const auto run = [&](const Tensor& x) { backward(probe(x, adding), ratel::ones({2}, x.dtype())); };
  for (const DType dtype : {DType::f64, DType::bf16}) {
    in_place = 0;
    const Tensor x = requires_grad(ratel::ones({2}, dtype));
    run(x);  // there is nothing to add to
    BOOST_TEST(in_place == 0);
    const void* place = grad(x).data();
    run(x);
    BOOST_TEST(in_place == 1);
    BOOST_TEST(grad(x).data() == place);
    check_grad(x, {2, 2});
    {  // What somebody else sees is left alone, a view as well.
      const Tensor held = grad(x);
      run(x);
      const Tensor viewed = reshape(grad(x), {1, 2});
      run(x);
      BOOST_TEST(in_place == 1);
      check_grad(x, {4, 4});
      BOOST_TEST(ratel::to_vector<double>(held) == (std::vector<double>{2, 2}));
      BOOST_TEST(ratel::to_vector<double>(viewed) == (std::vector<double>{3, 3}));
    }
    run(x);
    BOOST_TEST(in_place == 2);
    // The caller's own gradient, given to the leaf as it is, comes back a second time: it is added.
    zero_grad(x);
    const Tensor seed = ratel::ones({2}, dtype);
    const auto passing = [](const Tensor& g, const Needs&) -> Grads { return {g}; };
    for (int i = 0; i < 2; ++i) backward(probe(x, passing), seed);
    check_grad(x, {2, 2});
    BOOST_TEST(ratel::to_vector<double>(seed) == (std::vector<double>{1, 1}));
    // What an op made gathers nothing.
    run(x * 1);
    BOOST_TEST(in_place == 2);
  }
  const Tensor narrow = requires_grad(ratel::ones({2}, DType::bf16));
  set_grad(narrow, ratel::ones({2}, DType::bf16));
  in_place = 0;
  run(narrow);
  BOOST_TEST(in_place == 0);
  check_grad(narrow, {2, 2});

  // One leaf as two inputs: both added in place, or the first of them, or the second.
  const Tensor y = leaf({1, 2});
  for (const int added : {2, 0, 1}) {
    backward(y * 1, ratel::ones({2}, DType::f64));
    backward(record(clone(detach(y)), "pair", {y, y},
                    [added](const Tensor& g, const Needs& needs) -> Grads {
                      const Tensor gathered = needs.gathered(added == 1 ? 1 : 0);
                      add_into(gathered, g);
                      if (added == 2) add_into(gathered, g);
                      if (added == 2) return {gathered, gathered};
                      return added == 0 ? Grads{gathered, g} : Grads{g, gathered};
                    }),
             ratel::ones({2}, DType::f64));
    check_grad(y, {3, 3});
    zero_grad(y);
  }
  backward(y * 1, ratel::ones({2}, DType::f64));
  test::check_error(
      [&] { backward(sum(probe(y, [](const Tensor&, const Needs& needs) -> Grads { return {needs.gathered(0)}; }))); },
      "backward of probe: gradient of input 0: what was gathered so far came back as it was");
}

// What an op made sums as a leaf does, until the op is visited.
BOOST_AUTO_TEST_CASE(a_backward_function_may_add_to_what_waits_for_an_op) {
  int in_place = 0;
  const auto adding = [&](const Tensor& g, const Needs& needs) -> Grads {
    const Tensor sum = needs.sum_so_far(0);
    BOOST_TEST(!needs.gathered(0).defined());
    if (!sum.defined()) return {g};
    add_into(sum, g);
    ++in_place;
    return {sum};
  };
  const Tensor ones = ratel::ones({2}, DType::f64), x = leaf({1, 2});
  const auto run = [&](const std::function<Tensor(const Tensor& made)>& f, ratel::Tape tape, double expected, int times,
                       const char* what) {
    zero_grad(x);
    in_place = 0;
    const Tensor made = x * 1, y = f(made);
    backward(y, ones, tape);
    if (tape == ratel::Tape::keep) backward(y, ones);
    BOOST_TEST(in_place == times, what << ": " << in_place);
    const double whole = tape == ratel::Tape::keep ? 2 * expected : expected;
    BOOST_TEST(ratel::to_vector<double>(grad(x)) == (std::vector<double>{whole, whole}), what);
    BOOST_TEST(ratel::to_vector<double>(ones) == (std::vector<double>{1, 1}), what);  // the caller's is left alone
  };
  // What is recorded last is visited first: a product's gradient is nobody else's, and the others are added to it.
  const auto probes = [&](const Tensor& made) {
    const Tensor first = probe(made, adding), second = probe(made, adding), third = made * 3;
    return first + second + third;
  };
  run(probes, ratel::Tape::consume, 5, 2, "of several readers");
  run(probes, ratel::Tape::keep, 5, 4, "twice");
  run(
      [&](const Tensor& made) {
        const Tensor first = probe(made, adding), second = made + made;
        return first + second;
      },
      ratel::Tape::consume, 3, 1, "behind one that handed out a tensor twice");
  run([&](const Tensor& made) { return ratel::checkpoint([&](const auto& in) { return probes(in[0]); }, {made}); },
      ratel::Tape::consume, 5, 2, "of an input of a checkpoint");
  run([&](const Tensor& made) { return ratel::checkpoint([made, probes](const auto&) { return probes(made); }, {x}); },
      ratel::Tape::consume, 5, 2, "of what a checkpoint captured");
  run(
      [&](const Tensor& made) {
        const Tensor pair =
            record(clone(detach(made)), "pair", {made, made}, [](const Tensor& g, const Needs& needs) -> Grads {
              const Tensor sum = needs.sum_so_far(1);
              add_into(sum, g);
              return {g, sum};
            });
        const Tensor last = made * 3;
        return pair + last;
      },
      ratel::Tape::consume, 5, 0, "as one of two inputs");
  // Who asked for the gradient of what was made gets all of it, and keeps it.
  const Tensor made = x * 1;
  retain_grad(made);
  backward(probes(made), ones);
  BOOST_TEST(ratel::to_vector<double>(grad(made)) == (std::vector<double>{5, 5}));
  test::check_error(
      [&] {
        const Tensor again = x * 1;
        const Tensor idle =
            probe(again, [](const Tensor&, const Needs& needs) -> Grads { return {needs.sum_so_far(0)}; });
        const Tensor last = again * 3;
        backward(idle + last, ones);
      },
      "backward of probe: gradient of input 0: what was gathered so far came back as it was");
}

BOOST_AUTO_TEST_CASE(gradients_of_other_layouts_become_contiguous) {
  const Tensor x = requires_grad(test::randn({3, 4}, 1));
  backward(sum(transpose(x, 0, 1) * test::randn({4, 3}, 2)));
  BOOST_TEST(grad(x).is_contiguous());
  test::check_identical(grad(x), contiguous(transpose(test::randn({4, 3}, 2), 0, 1)), "a transposed gradient");
  backward(sum(x));  // a stretched gradient on top
  test::check_close(grad(x), transpose(test::randn({4, 3}, 2), 0, 1) + 1, 1e-15, "two gradients");
  // Of what an op made it comes first here, and nobody else holds it: the second one is still not added in its place.
  zero_grad(x);
  const Tensor made = x * 1, straight = sum(made * test::randn({3, 4}, 3));
  backward(straight + sum(transpose(made, 0, 1) * test::randn({4, 3}, 2)));
  test::check_close(grad(x), test::randn({3, 4}, 3) + transpose(test::randn({4, 3}, 2), 0, 1), 1e-15, "of an op's");
}

BOOST_AUTO_TEST_CASE(wrong_gradients_are_named) {
  const Tensor x = leaf({1, 2});
  const auto run = [&](std::function<Grads(const Tensor&, const Needs&)> f) { backward(sum(probe(x, std::move(f)))); };
  test::check_error([&] { run([](const Tensor&, const Needs&) { return Grads{}; }); },
                    "backward of probe: expected 1 gradients, found 0");
  test::check_error([&] { run([](const Tensor& g, const Needs&) {
                            return Grads{reshape(g, {2, 1})};
                          }); },
                    "backward of probe: gradient of input 0: expected f64 (2) on cpu, found f64 (2, 1) on cpu");
  test::check_error([&] { run([](const Tensor& g, const Needs&) { return Grads{to(g, DType::f32)}; }); },
                    "backward of probe: gradient of input 0: expected f64 (2) on cpu, found f32 (2) on cpu");
  test::check_error([&] { run([](const Tensor&, const Needs&) -> Grads { ratel::fail("inner"); }); },
                    "backward of probe: inner");
  BOOST_TEST(!grad(x).defined());
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = leaf({1, 2}), plain = ratel::ones({2}, DType::f64);
  test::check_error([&] { backward(x * 2); }, "backward: a tensor of shape (2) needs an explicit gradient");
  test::check_error([&] { backward(sum(plain)); }, "backward: the tensor of shape () needs no gradient");
  test::check_error([&] { backward(x * 2, ratel::ones({3}, DType::f64)); },
                    "backward: expected a gradient of f64 (2), found f64 (3)");
  test::check_error([&] { backward(x * 2, ratel::ones({2}, DType::f32)); },
                    "backward: expected a gradient of f64 (2), found f32 (2)");
  test::check_error([&] { backward(Tensor()); }, "backward: an undefined tensor");
  test::check_error([&] { requires_grad(x * 2); }, "requires_grad: the tensor of shape (2) was made by an op");
  test::check_error([&] { requires_grad(ratel::zeros({2}, DType::i32)); }, "only float tensors have gradients");
  test::check_error([&] { set_grad(x, ratel::ones({3}, DType::f64)); }, "set_grad: expected shape (2), found (3)");
  test::check_error([&] { set_grad(x, ratel::ones({2}, DType::f32)); }, "set_grad: expected dtype f64, found f32");
  test::check_error([&] { set_grad(x, requires_grad(ratel::ones({2}, DType::f64))); },
                    "set_grad: expected a plain tensor");
  test::check_error([&] { ratel::run_nested_backward(x, x, {}); }, "run_nested_backward: no backward is running");
  test::check_error([&] { record(x, "probe", {x}, [](const Tensor& g, const Needs&) -> Grads { return {g}; }); },
                    "probe: an op must return fresh tensors, output 0 is already on the tape");
}

BOOST_AUTO_TEST_CASE(a_saved_tensor_that_changed_is_noticed) {
  const std::string changed = "a tensor saved for backward was changed in place";
  const Tensor x = leaf({1, 2}), w = ratel::from_vector<double>({3, 4}, {2}), other = ratel::ones({2}, DType::f64);
  Tensor y = sum(x * w);
  copy_into(w, other);
  test::check_error([&] { backward(y); }, changed);
  y = sum(x * w);
  add_into(w, other);
  test::check_error([&] { backward(y); }, "backward of mul");
  y = sum(x * w);
  copy_into(slice(w, 0, 0, 1), slice(other, 0, 0, 1));  // through a view
  test::check_error([&] { backward(y); }, changed);
  y = sum(x * w);
  backward(y);
  copy_into(w, other);  // afterwards is fine
  test::check_error([&] { copy_into(x * 2, other); }, "copy_into: the tensor of shape (2) was made by an op");
  // An op that saves nothing does not mind.
  y = sum(x + w);
  add_into(w, other);
  backward(y);
}

BOOST_AUTO_TEST_CASE(a_chain_of_a_million_ops_needs_no_deep_stack) {
  constexpr int kLength = 1'000'000;
  const Tensor x = leaf({0});
  const auto chain = [&](int length) {
    Tensor y = x;
    for (int i = 0; i < length; ++i) y = y + 1;
    return y;
  };
  {
    const Tensor y = chain(kLength);
    BOOST_TEST(y.item() == kLength);
    backward(y);
    check_grad(x, {1});
  }
  chain(kLength / 4);  // destroyed with its tape unused
}
