#include "ops/fused_linear.h"

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/reduce.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/gradcheck.h"

using ratel::Activation;
using ratel::DType;
using ratel::LinearFusion;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

constexpr unsigned kNorm = 1, kGelu = 2, kResidual = 4, kAll = 7;

/// All operands of one product, as far as `parts` asks for them.
struct Layer {
  Tensor x, weight;
  LinearFusion fusion;

  Layer(const Shape& shape, int64_t N, unsigned parts, uint64_t seed) : x(test::randn(shape, seed)) {
    const int64_t K = shape[-1];
    weight = test::randn({N, K}, seed + 1) * (1 / std::sqrt(static_cast<double>(K)));
    if (parts & kNorm) {
      fusion.norm_weight = test::randn({K}, seed + 2) * 0.3 + 1;
      fusion.norm_eps = 0.25;  // so much that another would show
    }
    if (parts & kGelu) fusion.activation = Activation::gelu;
    Shape out = shape;
    out.set(-1, N);
    if (parts & kResidual) fusion.residual = test::randn(out, seed + 3);
  }
  [[nodiscard]] Layer in(DType dtype, ratel::Device device) const {
    Layer other(*this);
    for (Tensor* each : {&other.x, &other.weight, &other.fusion.norm_weight, &other.fusion.residual})
      if (each->defined()) *each = to(to(*each, dtype), device);
    return other;
  }
  [[nodiscard]] Tensor fused() const { return to(fused_linear(x, weight, fusion), ratel::kCpu); }
  [[nodiscard]] Tensor reference() const { return fused_linear_reference(x, weight, fusion); }
};

struct Case {
  const char* path;
  Shape shape;
  int64_t N;
};

// The kernels' paths: one row, which a GPU takes through rings of ten steps, and where it is longer than its shared
// memory holds, in stretches; up to 4, 8 and 16 rows, and more, which are composed; rows that are no whole registers;
// columns of one step of a warp and past it, of several stretches; rows of the weight that do not fill a pair, a warp,
// a block, a group of columns.
const Case kCases[] = {
    {"one number", {1, 1}, 1},
    {"one row, a step of a warp", {1, 256}, 8},
    {"one row, past a step", {1, 1, 264}, 9},
    {"one row, odd", {1, 77}, 3},
    {"one row, rings that come around between pairs of rows", {1, 520}, 301},
    {"one row, longer than shared memory holds", {1, 20000}, 17},
    {"two rows", {2, 1, 64}, 33},
    {"four rows, stretches", {4, 2056}, 7},
    {"five rows, odd", {5, 33}, 31},
    {"eight rows, stretches", {2, 4, 1040}, 32},
    {"nine rows", {9, 128}, 5},
    {"sixteen rows, stretches, two blocks", {16, 520}, 70},
    {"more rows than the kernel has", {17, 40}, 6},
};

// What a lane has of the weight under way comes around in each: once, and where columns end within it.
const Case kLowPrecisionCases[] = {{"one row", {1, 264}, 90},
                                   {"one row, rings that come around", {1, 4616}, 30},
                                   {"one row, longer than shared memory holds", {1, 40000}, 3},
                                   {"three rows, odd", {3, 77}, 90},
                                   {"two rows", {2, 40}, 90},
                                   {"eight rows", {8, 512}, 90},
                                   {"sixteen rows", {16, 1040}, 90},
                                   {"five rows, many columns", {5, 4360}, 30}};

}  // namespace

BOOST_AUTO_TEST_CASE(equals_the_composed_version) {
  for (const Case& c : kCases)
    for (const unsigned parts : {0U, kNorm, kGelu, kResidual, kNorm | kGelu, kAll}) {
      const Layer layer(c.shape, c.N, parts, 1);
      for (const ratel::Device device : test::devices())
        test::check_close(layer.in(DType::f64, device).fused(), layer.reference(), 1e-13,
                          ratel::concat_text(c.path, ", parts ", parts, " on ", device));
    }
}

BOOST_AUTO_TEST_CASE(low_precision_errs_at_most_twice_as_much_as_the_composed_version) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const Case& c : kLowPrecisionCases)
      for (const unsigned parts : {kNorm, kNorm | kGelu, kResidual, kAll})
        for (const ratel::Device device : test::devices()) {
          test::RoundingErrors errors;
          for (const uint64_t draw : {1, 2, 3}) {
            const Layer layer = Layer(c.shape, c.N, parts, draw).in(dtype, ratel::kCpu);
            errors.add(layer.in(dtype, device).fused(), layer.reference(),
                       layer.in(DType::f64, ratel::kCpu).reference());
          }
          errors.check(ratel::concat_text(dtype, ' ', c.path, ", parts ", parts, " on ", device));
        }
}

// A warp has two rows of the weight where there are many.
BOOST_AUTO_TEST_CASE(a_number_does_not_depend_on_how_many_others_there_are) {
  for (const DType dtype : {DType::f64, DType::bf16})
    for (const ratel::Device device : test::devices()) {
      const int64_t K = dtype == DType::bf16 ? 1288 : 66, N = 4099;
      const Tensor x = to(test::randn({1, K}, 1, dtype), device), weight = to(test::randn({N, K}, 2, dtype), device);
      const Tensor norm_weight = to(test::randn({K}, 3, dtype), device);
      const Tensor all = fused_linear(x, weight, {.norm_weight = norm_weight});
      for (const int64_t first : {int64_t{0}, N - 21})
        test::check_identical(
            to(fused_linear(x, slice(weight, 0, first, first + 21), {.norm_weight = norm_weight}), ratel::kCpu),
            to(slice(all, 1, first, first + 21), ratel::kCpu), ratel::concat_text(dtype, " on ", device));
    }
}

BOOST_AUTO_TEST_CASE(any_layout) {
  Layer layer({3, 40}, 12, kAll, 5);
  const Tensor expected = layer.reference();
  layer.x = test::scattered(layer.x);
  layer.weight = test::scattered(layer.weight);
  layer.fusion.residual = test::scattered(layer.fusion.residual);
  test::check_close(layer.fused(), expected, 1e-13, "scattered");
  layer.fusion.residual = {};
  layer.weight = test::randn({40, 40}, 7);
  layer.fusion.residual = layer.x;
  test::check_close(layer.fused(), layer.reference(), 1e-13, "x is the residual");
  BOOST_TEST(fused_linear(test::randn({0, 40}, 1), layer.weight).shape() == (Shape{0, 40}));
}

BOOST_AUTO_TEST_CASE(gradients_are_those_of_the_composed_version) {
  const Layer layer({2, 9}, 5, kAll, 11);
  test::gradcheck(
      [](const std::vector<Tensor>& in) {
        return fused_linear(in[0], in[1], {.norm_weight = in[2], .activation = Activation::gelu, .residual = in[3]});
      },
      {layer.x, layer.weight, layer.fusion.norm_weight, layer.fusion.residual}, "all inputs");
}

// More rows than the kernel has, where the product adds the residual: forward and all gradients.
BOOST_AUTO_TEST_CASE(the_ops_of_many_rows_agree_with_the_composed_version) {
  for (const unsigned parts : {kResidual, kNorm | kResidual, kAll}) {
    const auto with = [parts](auto linear) {
      return [=](const std::vector<Tensor>& in) {
        return linear(in[0], in[1],
                      LinearFusion{.norm_weight = parts & kNorm ? in[3] : Tensor(),
                                   .activation = parts & kGelu ? Activation::gelu : Activation::none,
                                   .residual = in[2]});
      };
    };
    for (const bool scattered : {false, true}) {
      const Layer layer({2, 13, 24}, 9, kAll, 17);
      std::vector<Tensor> inputs{layer.x, layer.weight, layer.fusion.residual};
      if (scattered)
        for (Tensor& each : inputs) each = test::scattered(each);
      if (parts & kNorm) inputs.push_back(layer.fusion.norm_weight);
      test::check_against_reference(with(ratel::fused_linear), with(ratel::fused_linear_reference), inputs,
                                    ratel::concat_text("parts ", parts, scattered ? ", scattered" : ""));
    }
  }
  const auto same = [](const std::vector<Tensor>& in) { return fused_linear(in[0], in[1], {.residual = in[0]}); };
  test::gradcheck(same, {test::randn({5, 4}, 1), test::randn({4, 4}, 2)}, "x is the residual");
}

BOOST_AUTO_TEST_CASE(a_branch_starts_with_its_projection_and_passes_x_on) {
  const auto branch = [](const std::vector<Tensor>& in) {
    const auto [y, residual] =
        fused_linear_branch(in[0], in[1], {.norm_weight = in[2], .activation = Activation::gelu});
    return fused_linear(y, in[3], {.residual = residual});
  };
  const auto composed = [](const std::vector<Tensor>& in) {
    const Tensor y = fused_linear_reference(in[0], in[1], {.norm_weight = in[2], .activation = Activation::gelu});
    return fused_linear_reference(y, in[3], {.residual = in[0]});
  };
  const std::vector<Tensor> inputs{test::randn({2, 11, 8}, 1), test::randn({12, 8}, 2) * 0.3,
                                   test::randn({8}, 3) * 0.3 + 1, test::randn({8, 12}, 4) * 0.3};
  test::check_against_reference(branch, composed, inputs, "a whole branch");
  test::gradcheck(branch, inputs, "a whole branch");
  for (const ratel::Device device : test::devices())
    for (const int64_t rows : {3, 40}) {  // one kernel; ops
      const Layer layer = Layer({rows, 20}, 6, kNorm, 19).in(DType::f64, device);
      const auto [y, residual] = fused_linear_branch(layer.x, layer.weight, layer.fusion);
      BOOST_TEST(residual.data() == layer.x.data());
      test::check_identical(to(y, ratel::kCpu), layer.fused(), "the same projection");
    }
}

BOOST_AUTO_TEST_CASE(bits_do_not_depend_on_threads) {
  const Layer layer = Layer({3, 512}, 1024, kAll, 13).in(DType::f32, ratel::kCpu);
  test::check_thread_independent([&] { return layer.fused(); }, "fused_linear");
}

BOOST_AUTO_TEST_CASE(errors) {
  const Tensor x = test::randn({2, 4}, 1), weight = test::randn({3, 4}, 2);
  test::check_error([&] { fused_linear(x, transpose(weight, 0, 1)); }, "of two axes or more and a weight (N, K)");
  test::check_error([&] { fused_linear(x, to(weight, DType::f32)); }, "expected a weight (3, 4) in f64");
  test::check_error([&] { fused_linear(x, weight, {.norm_weight = test::randn({3}, 1)}); },
                    "expected a norm's weight (4)");
  test::check_error([&] { fused_linear(x, weight, {.residual = x}); }, "expected a residual (2, 3)");
  test::check_error([&] { fused_linear(x, Tensor()); }, "fused_linear: an undefined tensor");
  test::check_error([&] { fused_linear(to(x, DType::i64), weight); }, "expected a float dtype");
  test::check_error([&] { fused_linear_branch(x, weight, {}); }, "expected a norm's weight at the start of a branch");
}
