#include "ops/create.h"

#include <algorithm>
#include <cmath>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/copy.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::DType;
using ratel::Rng;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

constexpr DType kFloats[] = {DType::f64, DType::f32, DType::bf16};
constexpr DType kIntegers[] = {DType::i64, DType::i32, DType::u16, DType::u8};

double moment(const std::vector<double>& x, int power) {
  double total = 0;
  for (const double value : x) total += std::pow(value, power);
  return total / static_cast<double>(x.size());
}

}  // namespace

BOOST_AUTO_TEST_CASE(constants_in_every_dtype) {
  // 2^16 elements are one piece of the fill.
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{3, 0, 2}, Shape{1}, Shape{7, 5}, Shape{(1 << 16) + 1}})
    for (const auto& group : {std::span<const DType>(kFloats), std::span<const DType>(kIntegers)})
      for (const DType dtype : group) {
        const Tensor x = ratel::full(shape, 2.5, dtype);
        BOOST_TEST(x.shape() == shape);
        BOOST_TEST(x.is_contiguous());
        const double expected = is_float(dtype) ? 2.5 : 2;
        for (const double value : ratel::to_vector<double>(x)) BOOST_REQUIRE(value == expected);
        for (const double value : ratel::to_vector<double>(ratel::ones_like(x))) BOOST_REQUIRE(value == 1);
        for (const double value : ratel::to_vector<double>(ratel::zeros_like(x))) BOOST_REQUIRE(value == 0);
      }
  BOOST_TEST(ratel::scalar(1.5).rank() == 0);
  BOOST_TEST(ratel::scalar(1.5, DType::f64).item() == 1.5);
}

BOOST_AUTO_TEST_CASE(arange_counts) {
  for (const DType dtype : {DType::i64, DType::i32, DType::u16, DType::f32, DType::f64})
    BOOST_TEST(ratel::to_vector<int>(ratel::arange(5, dtype)) == (std::vector<int>{0, 1, 2, 3, 4}));
  BOOST_TEST(ratel::arange(0).numel() == 0);
  test::check_error([] { ratel::arange(-1); }, "cannot have the size -1");
}

BOOST_AUTO_TEST_CASE(random_numbers_are_those_of_the_generator) {
  Rng rng(5, 2, 100);
  const Tensor x = ratel::random_normal({3, 7}, rng, 1, 2, DType::f64);
  BOOST_TEST(rng.next() == 121U);
  const auto values = ratel::to_vector<double>(x);
  for (size_t i = 0; i < values.size(); ++i) BOOST_TEST(values[i] == 1 + 2 * Rng(5, 2).normal_at(100 + i));
  const Tensor u = ratel::random_uniform({4}, rng, -1, 3, DType::f64);
  BOOST_TEST(rng.next() == 125U);
  for (size_t i = 0; i < 4; ++i) BOOST_TEST(ratel::to_vector<double>(u)[i] == -1 + 4 * Rng(5, 2).uniform_at(121 + i));
  // The same values in every dtype, up to rounding.
  for (const DType dtype : kFloats) {
    Rng again(5, 2, 100);
    test::check_identical(ratel::random_normal({3, 7}, again, 1, 2, dtype), to(x, dtype), "another dtype");
  }
}

BOOST_AUTO_TEST_CASE(random_numbers_have_their_moments) {
  Rng rng(1);
  constexpr int64_t kCount = 1 << 17;
  const auto normal = ratel::to_vector<double>(ratel::random_normal({kCount}, rng, 3, 0.5));
  const double noise = 5 / std::sqrt(static_cast<double>(kCount));
  BOOST_TEST(std::abs(moment(normal, 1) - 3) < 0.5 * noise);
  BOOST_TEST(std::abs(moment(normal, 2) - 9.25) < 10 * noise);
  const auto uniform = ratel::to_vector<double>(ratel::random_uniform({kCount}, rng, -2, 2));
  BOOST_TEST(std::abs(moment(uniform, 1)) < 1.2 * noise);
  BOOST_TEST(std::abs(moment(uniform, 2) - 4.0 / 3) < 1.2 * noise);
  const auto [low, high] = std::minmax_element(uniform.begin(), uniform.end());
  BOOST_TEST(*low >= -2);
  BOOST_TEST(*high < 2);
  for (const DType dtype : kIntegers) {
    std::vector<int> counts(10);
    for (const int value : ratel::to_vector<int>(ratel::random_integers({20000}, rng, 10, dtype)))
      ++counts.at(static_cast<size_t>(value));
    for (const int count : counts) BOOST_TEST(std::abs(count - 2000) < 5 * std::sqrt(1800.0));
  }
}

BOOST_AUTO_TEST_CASE(a_float_in_a_half_open_range_never_reaches_its_end) {
  // 2^20 draws of 53 bits meet values that round to 1 in f32 (one in 2^25) rarely, in bf16 (one in 512) for certain.
  Rng rng(1);
  for (const DType dtype : kFloats) {
    const auto values = ratel::to_vector<double>(ratel::random_uniform({1 << 14}, rng, 0, 1, dtype));
    BOOST_TEST(*std::max_element(values.begin(), values.end()) < 1);
  }
}

BOOST_AUTO_TEST_CASE(threads_do_not_matter) {
  for (const DType dtype : kFloats)
    test::check_thread_independent(
        [dtype] {
          Rng rng(1);
          return ratel::random_normal({3, 5001}, rng, 0, 1, dtype);
        },
        "random_normal");
  test::check_thread_independent([] { return ratel::full({200000}, 1.5); }, "full");
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  Rng rng(1);
  test::check_error([&] { ratel::random_normal({2}, rng, 0, 1, DType::i32); },
                    "random_normal: expected a float dtype, found i32");
  test::check_error([&] { ratel::random_uniform({2}, rng, 0, 1, DType::u8); }, "random_uniform: expected a float");
  test::check_error([&] { ratel::random_integers({2}, rng, 3, DType::f32); }, "random_integers: expected an integer");
  test::check_error([&] { ratel::random_integers({2}, rng, 0); }, "bound must be in [1, 2^31], found 0");
  test::check_error([&] { ratel::random_integers({2}, rng, (int64_t{1} << 31) + 1); }, "bound must be in");
  test::check_error([&] { ratel::random_integers({2}, rng, 257, DType::u8); }, "bound 257 does not fit u8");
  BOOST_TEST(ratel::random_integers({2}, rng, 256, DType::u8).numel() == 2);
}

BOOST_AUTO_TEST_CASE(filling_changes_a_leaf_where_it_lies) {
  for (const ratel::Device device : test::devices()) {
    const Tensor x = ratel::ones({3, 5}, DType::f32, device);
    const auto version = x.storage()->version();
    fill_into(slice(x, 0, 1, 2), -2.5);
    BOOST_TEST(
        ratel::to_vector<float>(x) == (std::vector<float>{1, 1, 1, 1, 1, -2.5, -2.5, -2.5, -2.5, -2.5, 1, 1, 1, 1, 1}),
        boost::test_tools::per_element());
    BOOST_TEST(x.storage()->version() == version + 1);
    test::check_error([&] { fill_into(slice(x, 1, 0, 2), 0); }, "the target must be contiguous");
    const Tensor made = requires_grad(ratel::ones({2}, DType::f32, device)) * 2;
    test::check_error([&] { fill_into(made, 0); }, "fill_into: the target must be a leaf: an op made it");
  }
}
