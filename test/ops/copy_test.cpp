#include "ops/copy.h"

#include <cmath>
#include <limits>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
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

constexpr DType kEvery[] = {DType::f64, DType::f32, DType::bf16, DType::i64, DType::i32, DType::u16, DType::u8};

// The kernel's paths: one contiguous run (2^16 elements a piece); rows of neighbours; rows of strided elements.
const Shape kShapes[] = {{}, {0, 3}, {1}, {33}, {4, 5}, {2, 3, 70}, {2, (1 << 15) + 1}};

/// Small whole numbers, exact in every dtype.
Tensor counted(const Shape& shape, DType dtype) {
  std::vector<double> values;
  for (int64_t i = 0; i < shape.numel(); ++i) values.push_back(static_cast<double>(i % 200));
  return ratel::from_vector(values, shape, dtype);
}

}  // namespace

BOOST_AUTO_TEST_CASE(copies_between_every_pair_of_dtypes_and_layouts) {
  for (const Shape& shape : kShapes)
    for (const DType from : kEvery)
      for (const DType into : kEvery) {
        if (shape.numel() > 1000 && (from != DType::f32 || into != DType::bf16)) continue;
        const Tensor expected = counted(shape, into);
        for (const ratel::Device device : test::devices()) {
          const Tensor x = to(counted(shape, from), device);
          test::check_identical(to(x, into), expected, "to");
          test::check_identical(to(test::scattered(x), into), expected, "to from strided");
          const Tensor target = test::scattered(ratel::zeros(shape, into, device));
          copy_into(target, x);
          test::check_identical(contiguous(target), expected, "into strided");
          copy_into(target, test::scattered(x));
          test::check_identical(contiguous(target), expected, "strided into strided");
        }
      }
}

BOOST_AUTO_TEST_CASE(a_strided_target_keeps_what_lies_between) {
  for (const ratel::Device device : test::devices()) {
    const Tensor host = ratel::zeros({4, 6}, DType::f64, device);
    copy_into(ratel::slice(ratel::slice(host, 0, 1, 4, 2), 1, 0, 6, 3), ratel::ones({2, 2}, DType::f64, device));
    BOOST_TEST(to_vector<int>(host) ==
               (std::vector<int>{0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0}));
  }
}

BOOST_AUTO_TEST_CASE(transposed_and_stretched_sources) {
  for (const ratel::Device device : test::devices()) {
    const Tensor x = counted({3, 70}, DType::f32);
    const Tensor turned = to(contiguous(transpose(to(x, device), 0, 1)), ratel::kCpu);
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 70; ++j) BOOST_REQUIRE(turned.data<float>()[j * 3 + i] == x.data<float>()[i * 70 + j]);
    const Tensor wide = to(contiguous(broadcast_to(to(counted({3, 1}, DType::f32), device), {2, 3, 4})), ratel::kCpu);
    for (int64_t i = 0; i < 24; ++i) BOOST_TEST(wide.data<float>()[i] == static_cast<float>(i / 4 % 3));
  }
}

BOOST_AUTO_TEST_CASE(what_is_copied_and_what_is_not) {
  const Tensor x = test::randn({4, 5}, 1);
  BOOST_TEST(is_same_tensor(contiguous(x), x));
  BOOST_TEST(is_same_tensor(to(x, DType::f64), x));
  BOOST_TEST((clone(x).storage() != x.storage()));
  test::check_identical(clone(x), x, "clone");
  const Tensor turned = transpose(x, 0, 1);
  BOOST_TEST(contiguous(turned).is_contiguous());
  BOOST_TEST((contiguous(turned).storage() != x.storage()));
  BOOST_TEST(clone(turned).is_contiguous());
}

BOOST_AUTO_TEST_CASE(gradients) {
  const Tensor x = test::randn({4, 5}, 1);
  test::gradcheck([](const auto& in) { return clone(in[0]); }, {x}, "clone");
  test::gradcheck([](const auto& in) { return contiguous(transpose(in[0], 0, 1)); }, {x}, "contiguous");
  test::gradcheck([](const auto& in) { return clone(in[0]); }, {test::scattered(x)}, "clone of strided");
  const Tensor half = requires_grad(to(x, DType::bf16));
  backward(to(half, DType::f64), x);
  BOOST_TEST((grad(half).dtype() == DType::f32));
  test::check_identical(grad(half), to(to(x, DType::bf16), DType::f32), "through a conversion");
  BOOST_TEST(!needs_grad(to(half, DType::i32)));
}

BOOST_AUTO_TEST_CASE(copy_into_counts_as_a_change_and_names_misuse) {
  const Tensor x = test::randn({2, 3}, 1);
  const auto version = x.storage()->version();
  copy_into(x, ratel::ones({2, 3}));
  BOOST_TEST(x.storage()->version() == version + 1);
  test::check_error([&] { copy_into(x, ratel::ones({3, 2})); }, "copy_into: expected shape (2, 3), found (3, 2)");
  const Tensor leaf = requires_grad(clone(x));
  copy_into(leaf, x);  // a parameter may be written to
  test::check_error([&] { copy_into(clone(leaf), x); }, "was made by an op and cannot be changed");
  test::check_error([&] { clone(Tensor()); }, "clone: an undefined tensor");
  test::check_error([&] { contiguous(Tensor()); }, "contiguous: an undefined tensor");
  test::check_error([&] { to(Tensor(), DType::f32); }, "to: an undefined tensor");
  test::check_error([&] { to(Tensor(), ratel::kCpu); }, "to: an undefined tensor");
}

BOOST_AUTO_TEST_CASE(copy_into_reads_what_overlaps_as_it_was_and_refuses_shared_places) {
  for (const ratel::Device device : test::devices()) {
    const Tensor x = to(ratel::arange(6), device);
    copy_into(slice(x, 0, 1, 6), slice(x, 0, 0, 5));
    test::check_identical(x, ratel::from_vector<int64_t>({0, 0, 1, 2, 3, 4}, {6}), "shifted by one");
    const Tensor square = to(reshape(ratel::arange(9), {3, 3}), device);
    copy_into(square, transpose(square, 0, 1));
    test::check_identical(square, ratel::from_vector<int64_t>({0, 3, 6, 1, 4, 7, 2, 5, 8}, {3, 3}), "transposed");
    const Tensor total = to(ratel::from_vector<double>({1, 2, 3, 4}, {4}), device);
    add_into(slice(total, 0, 1, 4), slice(total, 0, 0, 3));
    test::check_identical(total, ratel::from_vector<double>({1, 3, 5, 7}, {4}), "added, shifted by one");
    test::check_error([&] { copy_into(broadcast_to(slice(x, 0, 0, 1), {4}), to(ratel::arange(4), device)); },
                      "elements of the target of shape (4) share their place");
  }
}

BOOST_AUTO_TEST_CASE(floats_beyond_an_integer_become_its_ends_and_nan_0) {
  const double huge = 1e300, nan = std::nan("");
  const std::vector<double> values{-huge, -1.5, nan, 1.5, 255.5, 65535.5, 2147483647.5, 9223372036854775807.0, huge};
  for (const ratel::Device device : test::devices())
    for (const DType from : {DType::f64, DType::f32, DType::bf16}) {
      const Tensor x = to(ratel::from_vector(values, {9}, from), device);
      const auto ends = [&](DType dtype) {
        const auto y = ratel::to_vector<int64_t>(to(x, dtype));
        BOOST_TEST(y[2] == 0);
        BOOST_TEST(y[3] == 1);
        return std::pair(y[0], y[8]);
      };
      BOOST_TEST((ends(DType::u8) == std::pair<int64_t, int64_t>(0, 255)));
      BOOST_TEST((ends(DType::u16) == std::pair<int64_t, int64_t>(0, 65535)));
      BOOST_TEST((ends(DType::i32) == std::pair<int64_t, int64_t>(-2147483648, 2147483647)));
      BOOST_TEST(
          (ends(DType::i64) == std::pair(std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())));
      BOOST_TEST(ratel::to_vector<int64_t>(to(x, DType::i64))[7] == std::numeric_limits<int64_t>::max());
      BOOST_TEST(ratel::to_vector<int64_t>(to(x, DType::u8))[1] == 0);
    }
}

BOOST_AUTO_TEST_CASE(threads_do_not_matter) {
  const Tensor x = test::randn({70, 1001}, 1, DType::f32);
  test::check_thread_independent([&] { return clone(x); }, "clone");
  test::check_thread_independent([&] { return to(transpose(x, 0, 1), DType::bf16); }, "a strided conversion");
}
