#include "nn/param_store.h"

#include <cmath>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"
#include "test/support/compare.h"

using ratel::DType;
using ratel::Error;
using ratel::ErrorKind;
using ratel::NamedTensor;
using ratel::Shape;
using ratel::Tensor;
using ratel::nn::constant;
using ratel::nn::normal;
using ratel::nn::ParamStore;
using ratel::nn::Scope;
using ratel::nn::Start;
namespace test = ratel::test;

namespace {

/// "b.weight" (2, 3), "a.0.weight" (4), "a.norm" (5).
void fill(ParamStore& store) {
  const Scope root(store);
  (void)(root / "b").param("weight", {2, 3}, normal(0.02));
  (void)(root / "a" / 0).param("weight", {4}, normal(0.02));
  (void)(root / "a").param("norm", {5}, constant(1));
}

std::vector<NamedTensor> random_state(uint64_t seed, DType dtype = DType::f32) {
  return {{"a.norm", test::randn({5}, seed, dtype)},
          {"b.weight", test::randn({2, 3}, seed + 1, dtype)},
          {"a.0.weight", test::randn({4}, seed + 2, dtype)}};
}

/// The message of the Error (input) f throws.
std::string input_error(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    BOOST_TEST((error.kind() == ErrorKind::input));
    return error.what();
  }
  BOOST_ERROR("expected an error, none was thrown");
  return {};
}

}  // namespace

BOOST_AUTO_TEST_CASE(parameters_keep_the_order_they_were_made_in) {
  ParamStore store(DType::f64, 3);
  fill(store);
  BOOST_REQUIRE(store.parameters().size() == 3U);
  BOOST_TEST(store.parameters()[0].name == "b.weight");
  BOOST_TEST(store.parameters()[1].name == "a.0.weight");
  BOOST_TEST(store.parameters()[2].name == "a.norm");
  BOOST_TEST(store.numel() == 15);
  BOOST_TEST(store.contains("a.norm"));
  BOOST_TEST(!store.contains("a"));
  for (const auto& [name, tensor] : store.parameters()) {
    BOOST_TEST((tensor.dtype() == DType::f64));
    BOOST_TEST(needs_grad(tensor));
    BOOST_TEST(is_leaf(tensor));
    BOOST_TEST(is_same_tensor(tensor, store.at(name)));
  }
}

BOOST_AUTO_TEST_CASE(a_start_that_is_held_elsewhere_is_copied) {
  ParamStore store;
  const Tensor mine = ratel::ones({2});
  for (const char* path : {"a", "b"})
    (void)store.add(path, {2}, [&](const Shape&, DType, ratel::Rng&) { return mine; });
  fill_into(store.at("a"), 5);
  test::check_identical(mine, ratel::ones({2}), "mine");
  test::check_identical(store.at("b"), ratel::ones({2}), "b");
  BOOST_TEST(!needs_grad(mine));
  const auto start_as = [&](const char* path, const std::function<Tensor()>& make) {
    return store.add(path, {2, 3}, [&](const Shape&, DType, ratel::Rng&) { return make(); });
  };
  BOOST_TEST(start_as("transposed", [] { return transpose(ratel::ones({3, 2}), 0, 1); }).is_contiguous());
  BOOST_TEST(start_as("stretched", [] { return broadcast_to(ratel::ones({}), {2, 3}); }).is_contiguous());
  BOOST_TEST(is_leaf(start_as("made by an op", [] { return requires_grad(ratel::ones({2, 3})) * 2; })));
}

BOOST_AUTO_TEST_CASE(a_place_in_a_store) {
  ParamStore store;
  (void)(store / "head").param("weight", {1}, constant(1));
  (void)(store / 2 / "x").param("weight", {1}, constant(1));
  BOOST_TEST((store.contains("head.weight") && store.contains("2.x.weight")));
}

BOOST_AUTO_TEST_CASE(a_start_depends_on_seed_path_and_shape_alone) {
  ParamStore store(DType::f32, 3), reversed(DType::f32, 3), other(DType::f32, 4), wide(DType::f64, 3);
  for (ParamStore* each : {&store, &other, &wide}) fill(*each);
  reversed.add("a.norm", {5}, constant(1));
  reversed.add("a.0.weight", {4}, normal(0.02));
  reversed.add("b.weight", {2, 3}, normal(0.02));
  for (const auto& [name, tensor] : store.parameters()) {
    test::check_identical(tensor, reversed.at(name), name);
    test::check_identical(tensor, to(detach(wide.at(name)), DType::f32), name + " rounded from f64");
  }
  BOOST_TEST(test::relative_error(store.at("b.weight"), other.at("b.weight")) > 0.1);
  store.add("b.weight2", {2, 3}, normal(0.02));
  BOOST_TEST(test::relative_error(store.at("b.weight"), store.at("b.weight2")) > 0.1);
  store.add("c.weight", {2, 3}, normal(0.02));
  BOOST_TEST(test::relative_error(store.at("b.weight"), store.at("c.weight")) > 0.1);
}

BOOST_AUTO_TEST_CASE(normal_has_the_standard_deviation_it_is_given) {
  ParamStore store(DType::f64, 1);
  const auto values = ratel::to_vector<double>(store.add("w", {300, 300}, normal(0.02)));
  double total = 0, squares = 0;
  for (const double value : values) total += value, squares += value * value;
  const auto count = static_cast<double>(values.size());
  BOOST_TEST(std::abs(total / count) < 4 * 0.02 / std::sqrt(count));
  BOOST_TEST(std::abs(std::sqrt(squares / count) / 0.02 - 1) < 0.01);
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  ParamStore store;
  fill(store);
  test::check_error([&] { fill(store); }, "there already is a parameter \"b.weight\"");
  BOOST_TEST(store.parameters().size() == 3U);
  test::check_error([&] { (void)store.at("b.wieght"); }, R"(no parameter "b.wieght"; the nearest is "b.weight")");
  test::check_error([&] { (void)store.at("optimizer_state"); }, "no parameter \"optimizer_state\"");
  for (const char* path : {"", ".", "a.", ".a", "a..b"})
    test::check_error([&] { store.add(path, {1}, constant(0)); }, "is no path of a parameter");
  test::check_error([&] { ParamStore integers(DType::i64); }, "expected a float dtype, found i64");
  const auto wrong = [](const Shape&, DType dtype, ratel::Rng&) { return ratel::zeros({7}, dtype); };
  test::check_error([&] { store.add("c", {8}, wrong); }, "the start of \"c\" is f32 (7), expected f32 (8)");
}

BOOST_AUTO_TEST_CASE(load_reaches_every_handle_and_converts) {
  ParamStore store(DType::f32, 1);
  fill(store);
  const Tensor handle = store.at("b.weight");
  const auto version = handle.storage()->version();
  const auto state = random_state(5, DType::f64);
  store.load(state, "here");
  for (const auto& [name, tensor] : state) test::check_identical(store.at(name), to(tensor, DType::f32), name);
  BOOST_TEST(is_same_tensor(handle, store.at("b.weight")));
  BOOST_TEST(handle.storage()->version() > version);
  BOOST_TEST(needs_grad(handle));
  store.load(
      {{"a.norm", state[0].tensor}, {"b.weight", test::scattered(state[1].tensor)}, {"a.0.weight", state[2].tensor}},
      "strided");
  test::check_identical(handle, to(state[1].tensor, DType::f32), "strided");
}

BOOST_AUTO_TEST_CASE(load_lists_all_that_is_wrong_and_changes_nothing) {
  ParamStore store(DType::f32, 1);
  fill(store);
  const auto before = ratel::to_vector<double>(store.at("a.norm"));
  auto state = random_state(5);
  state.push_back({"x.1", test::randn({1}, 1)});
  state.push_back({"x.2", test::randn({1}, 1)});
  state.push_back({"a.norm", test::randn({5}, 1)});
  state[1].tensor = test::randn({3, 2}, 1);
  state[2].name = "a.0.weights";
  BOOST_TEST(
      input_error([&] { store.load(state, "model.safetensors"); }) ==
      "model.safetensors: the tensors are not the model's: 1 missing: a.0.weight; 3 unexpected: a.0.weights, x.1, "
      "x.2; 1 misshaped: b.weight (expected (2, 3), found (3, 2)); 1 repeated: a.norm");
  BOOST_TEST(input_error([&] { store.load({}, "none"); }) ==
             "none: the tensors are not the model's: 3 missing: b.weight, a.0.weight, a.norm");
  state = random_state(5);
  state[2].tensor = ratel::arange(4);
  BOOST_TEST(input_error([&] { store.load(state, "f"); }) == "f: a.0.weight: expected a float dtype, found i64");
  BOOST_TEST(ratel::to_vector<double>(store.at("a.norm")) == before);
}

BOOST_AUTO_TEST_CASE(a_store_of_shapes_alone_takes_no_memory) {
  ParamStore store(DType::f32, 1, Start::shapes_only);
  const Tensor huge = store.add("w", {1 << 20, 1 << 20}, normal(1));
  BOOST_TEST(huge.shape() == Shape({1 << 20, 1 << 20}));
  BOOST_TEST(huge.storage()->bytes() <= 64U);
  BOOST_TEST(store.numel() == int64_t{1} << 40);
  store.check_shapes({{"w", {1 << 20, 1 << 20}}}, "f");
  BOOST_TEST(input_error([&] {
               store.check_shapes({{"w", {1}}}, "f");
             }) == "f: the tensors are not the model's: 1 misshaped: w (expected (1048576, 1048576), found (1))");
  test::check_error([&] { store.load({}, "f"); }, "a store of shapes alone holds no values");
}

BOOST_AUTO_TEST_CASE(an_empty_store_is_filled_by_load) {
  ParamStore store(DType::f64, 1, Start::empty);
  fill(store);
  const auto state = random_state(5, DType::f64);
  store.load(state, "here");
  for (const auto& [name, tensor] : state) test::check_identical(store.at(name), tensor, name);
}

BOOST_AUTO_TEST_CASE(gradients_are_forgotten_together) {
  ParamStore store(DType::f64, 1);
  fill(store);
  backward(store.at("a.norm") * 2.0, test::randn({5}, 1));
  BOOST_TEST(grad(store.at("a.norm")).defined());
  store.zero_grad();
  for (const auto& parameter : store.parameters()) BOOST_TEST(!grad(parameter.tensor).defined());
}
