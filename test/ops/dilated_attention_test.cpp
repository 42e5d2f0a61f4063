#include "ops/dilated_attention.h"

#include <cmath>

#include "core/memory.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/golden.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::HeadPatterns;
using ratel::Pattern;
using ratel::Tensor;
using ratel::cuda::AttentionProducts;
namespace test = ratel::test;

namespace {

struct Case {
  const char* path;
  int64_t B, H, T, d;
};

// CPU: tiles of 64 queries, runs of 256 keys, stretches of 512 queries and more backward. GPU: tiles of 32 by 32,
// blocks of 64 (f64) or 128 channels, slices of 512 queries and more backward.
const Case kCases[] = {
    {"one token", 1, 1, 1, 4},
    {"two tokens", 1, 2, 2, 1},
    {"one short of a tile", 1, 2, 63, 8},
    {"a tile", 2, 1, 64, 8},
    {"one past a tile", 1, 1, 65, 5},
    {"one short of a run of keys", 1, 1, 256, 3},
    {"one past a run of keys", 1, 1, 258, 3},
    {"two stretches of queries; on a GPU two slices", 1, 1, 600, 4},
    {"on a GPU past a tile and past a block of channels", 1, 1, 40, 70},
};

// Dense; dilated; with window; with initial tokens; both; no dilated keys; D = T and beyond; windows and initial tokens
// that reach beyond everything, and into one another; a window of several tiles; initial tokens across tiles.
const Pattern kPatterns[] = {{1, 0, 0},    {2, 0, 0},   {16, 0, 0},    {4, 5, 0},      {4, 5, 3},    {8, 3, 70},
                             {-1, 4, 2},   {-1, 0, 0},  {64, 0, 0},    {65, 0, 0},     {1000, 0, 1}, {7, 100, 40},
                             {-1, 300, 0}, {3, 0, 300}, {-1, 17, 130}, {5, 1000, 1000}};

std::vector<Tensor> inputs_of(const Case& c) {
  const ratel::Shape shape{c.B, c.H, c.T, c.d};
  return {test::randn(shape, 1), test::randn(shape, 2), test::randn(shape, 3)};
}

/// Output and lse in one tensor, so that a cotangent reaches both.
Tensor joined(const ratel::AttentionResult& r) {
  const Tensor lse = to(r.lse, r.out.dtype());
  return ratel::concat({r.out, reshape(lse, {lse.dim(0), lse.dim(1), lse.dim(2), 1})}, 3);
}

test::TensorFunction op(const HeadPatterns& p) {
  return [p](const auto& x) { return joined(dilated_attention(x[0], x[1], x[2], p)); };
}
test::TensorFunction reference(const HeadPatterns& p) {
  return [p](const auto& x) { return joined(dilated_attention_reference(x[0], x[1], x[2], p)); };
}

std::string name_of(const char* path, const Pattern& p) { return ratel::concat_text(path, ", ", p); }

}  // namespace

BOOST_AUTO_TEST_CASE(every_pattern_equals_its_reference_on_every_path) {
  for (const Case& c : kCases)
    for (const Pattern& p : kPatterns) {
      if (c.T > 300 && p.dilation != 1 && p.dilation != 16 && p.window != 17) continue;
      const auto x = inputs_of(c);
      const auto exact = test::gradients(reference({p}), x);
      for (const ratel::Device device : test::devices()) {
        const auto ours = test::gradients(op({p}), x, {}, device);
        const std::string what = ratel::concat_text(name_of(c.path, p), " on ", device);
        test::check_close(ours.out, exact.out, 1e-12, what + " forward");
        for (size_t i = 0; i < 3; ++i)
          test::check_close(ours.grads[i], exact.grads[i], 1e-11, what + " gradient " + std::to_string(i));
      }
    }
}

BOOST_AUTO_TEST_CASE(low_precision_errs_at_most_twice_as_much_as_the_composed_version) {
  const test::OwnDenseAttention own;
  for (const Pattern& p : {Pattern{1, 0, 0}, Pattern{4, 5, 3}, Pattern{-1, 17, 130}})
    test::check_against_reference(op({p}), reference({p}), inputs_of({"", 1, 2, 260, 16}), name_of("f32 and bf16", p));
}

// bf16 of width 64 and 128 goes to a GPU's tensor cores, by products of warps or of warpgroups: tiles of 64 queries by
// 32 keys, backward by 64 (d = 64) or 32, and of 64 keys by 64 queries or 32.
struct Sized {
  const char* path;
  int64_t H, T, d;
  Pattern pattern;
};
const Sized kTensorCoreCases[] = {
    {"less than a tile", 2, 40, 64, {1, 0, 0}},
    {"a tile and its masked edge", 2, 64, 64, {1, 0, 0}},
    {"whole tiles and a ragged one", 1, 150, 64, {1, 0, 0}},
    {"two slices of queries", 1, 600, 64, {16, 0, 0}},
    {"two slices of queries, tiles that see one of them in part", 1, 600, 64, {4, 0, 0}},
    {"window tiles less the dilated keys, initial tokens", 2, 150, 64, {4, 70, 3}},
    {"initial tokens over tiles, no dilated keys", 1, 150, 64, {-1, 5, 100}},
    {"d = 128, whole tiles", 1, 130, 128, {1, 0, 0}},
    {"d = 128, all kinds of tiles", 1, 150, 128, {3, 40, 70}},
};

BOOST_AUTO_TEST_CASE(both_kinds_of_products_err_at_most_twice_as_much_as_the_composed_version) {
  const test::OwnDenseAttention own;
  for (const auto products : {AttentionProducts::of_warp, AttentionProducts::of_warpgroup})
    test::with_attention_products(products, [&] {
      for (const Sized& c : kTensorCoreCases)
        test::check_rounding_on_gpus(
            op({c.pattern}), reference({c.pattern}), inputs_of({"", 1, c.H, c.T, c.d}), DType::bf16,
            name_of(c.path, c.pattern) + (products == AttentionProducts::of_warp ? " of warps" : " of warpgroups"));
    });
}

// Backward's tiles of 64 keys begin in rounds of 256, every second of which walks the queries from the first to the
// last: here 85 heads, then three.
BOOST_AUTO_TEST_CASE(heads_of_a_second_round_err_at_most_twice_as_much_as_the_composed_version) {
  const test::OwnDenseAttention own;
  test::check_rounding_on_gpus(op({{}}), reference({{}}), inputs_of({"", 88, 1, 130, 64}), DType::bf16, "88 heads");
}

// Where all heads are dense and the dtype is bf16, a GPU's forward is cuDNN's (the twin imitates it), and so is its
// backward where lse has no gradient. What cuDNN is asked for is tested in test/cuda/dense_attention_test.cpp. It takes
// sum(grad_out out) from out as bf16 rounded it: a row whose terms cancel, as the first token's do to zero, keeps their
// rounding, so that the tail of gradients is heavier than the composed version's.
BOOST_AUTO_TEST_CASE(dense_heads_err_at_most_twice_as_much_as_the_composed_version) {
  struct Sized {
    const char* path;
    int64_t B, H, T, d;
    HeadPatterns patterns;
  };
  for (const Sized& c : {
           Sized{"two tokens", 1, 2, 2, 8, {{}}},
           {"a window and initial tokens that add nothing", 2, 2, 70, 64, {{1, 5, 3}}},
           {"heads that are dense by dilation, window and initial tokens", 1, 3, 129, 40, {{}, {-1, 128}, {4, 0, 128}}},
           {"d = 128", 1, 1, 257, 128, {{}}},
       }) {
    const auto x = inputs_of({"", c.B, c.H, c.T, c.d});
    const auto out_of = [&](const auto& attention) {
      return [&](const auto& in) { return attention(in[0], in[1], in[2], c.patterns).out; };
    };
    test::check_rounding_on_gpus(op(c.patterns), reference(c.patterns), x, DType::bf16,
                                 ratel::concat_text(c.path, ", with lse"));
    test::check_rounding_on_gpus(out_of(ratel::dilated_attention), out_of(ratel::dilated_attention_reference), x,
                                 DType::bf16, c.path, test::Tail::heavy);
  }
}

BOOST_AUTO_TEST_CASE(tensor_cores_leave_rows_at_odd_addresses_to_the_plain_ones) {
  const Tensor base = test::randn({1, 40, 2, 195}, 1, DType::bf16);  // (B, T, H, 3d + 3)
  for (const ratel::Device device : test::devices()) {
    const auto parts = [&](const Tensor& from) {
      std::vector<Tensor> views;
      for (int64_t part = 0; part < 3; ++part)
        views.push_back(transpose(slice(from, 3, 65 * part, 65 * part + 64), 1, 2));
      return views;
    };
    const Tensor plain = reference({{4, 5, 3}})(parts(base)),
                 exact = reference({{4, 5, 3}})(parts(to(base, DType::f64)));
    const Tensor ours = op({{4, 5, 3}})(parts(ratel::moved_to(base, device)));
    test::check_within_twice(ratel::moved_to(ours, ratel::kCpu), plain, exact, ratel::concat_text("on ", device));
  }
}

BOOST_AUTO_TEST_CASE(a_token_that_sees_itself_alone_passes_its_value_on) {
  for (const ratel::Device device : test::devices())
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const int64_t d : {5, 64, 128}) {
        const ratel::Shape shape{1, 2, 70, d};
        const std::vector<Tensor> x{test::randn(shape, 1, dtype), test::randn(shape, 2, dtype),
                                    test::randn(shape, 3, dtype)};
        const Tensor grad = test::randn(shape, 4, dtype), zeros = zeros_like(x[0]);
        const auto ours = test::gradients(
            [](const auto& in) {
              return dilated_attention(in[0], in[1], in[2], {{-1, 0, 0}}).out;
            },
            x, grad, device);
        const std::string what = ratel::concat_text("d = ", d, ' ', dtype, " on ", device);
        test::check_identical(ours.out, x[2], what);
        test::check_close(to(ours.grads[0], dtype), zeros, 0, what + " gradient of q");
        test::check_close(to(ours.grads[1], dtype), zeros, 0, what + " gradient of k");
        test::check_close(to(ours.grads[2], dtype), grad, 1e-6, what + " gradient of v");
      }
}

BOOST_AUTO_TEST_CASE(goldens) {
  const test::Golden golden("dilated_attention");
  const auto about = golden.about("patterns");
  const auto& patterns = about.as_array();
  BOOST_REQUIRE(patterns.size() == 13);
  for (const ratel::Device device : test::devices())
    for (size_t n = 0; n < patterns.size(); ++n) {
      const auto& values = patterns[n].as_array();
      const Pattern p{values[0].as_int(), values[1].as_int(), values[2].as_int()};
      const std::string prefix = std::to_string(n) + '.',
                        what = ratel::concat_text(name_of("golden", p), " on ", device);
      const std::vector<Tensor> x{golden["q"], golden["k"], golden["v"]};
      const auto lse = dilated_attention(to(x[0], device), to(x[1], device), to(x[2], device), {p}).lse;
      const auto [out, grads] =
          test::gradients([&](const auto& in) { return dilated_attention(in[0], in[1], in[2], {p}).out; }, x,
                          golden["grad_out"], device);
      test::check_close(out, golden[prefix + "out"], 1e-10, what + " out");
      test::check_close(lse, golden[prefix + "lse"], 1e-10, what + " lse");
      test::check_close(grads[0], golden[prefix + "grad_q"], 1e-9, what + " grad_q");
      test::check_close(grads[1], golden[prefix + "grad_k"], 1e-9, what + " grad_k");
      test::check_close(grads[2], golden[prefix + "grad_v"], 1e-9, what + " grad_v");
    }
}

BOOST_AUTO_TEST_CASE(gradients) {
  const auto x = inputs_of({"", 1, 2, 21, 4});
  for (const Pattern& p : {Pattern{1, 0, 0}, Pattern{4, 2, 3}, Pattern{-1, 0, 0}})
    test::gradcheck(op({p}), x, name_of("gradcheck", p));
  test::gradcheck(op({{4, 0, 0}, {-1, 3, 1}}), x, "a pattern a head");
  test::gradcheck(
      [](const auto& in) {
        return dilated_attention(in[0], in[0], in[0], {{3, 1, 1}}).out;
      },
      {x[0]}, "one tensor thrice");
  test::gradcheck(
      [](const auto& in) {
        return dilated_attention(in[0], in[1], in[1], {{3, 1, 1}}).lse;
      },
      {x[0], x[1]}, "lse alone");
}

BOOST_AUTO_TEST_CASE(heads_keep_their_own_patterns) {
  const auto x = inputs_of({"", 2, 3, 90, 4});
  const HeadPatterns patterns{{1, 0, 0}, {8, 3, 0}, {-1, 4, 2}};
  const auto together = dilated_attention(x[0], x[1], x[2], patterns);
  for (int64_t h = 0; h < 3; ++h) {
    const auto one = [&](const Tensor& t) { return slice(t, 1, h, h + 1); };
    const auto alone = dilated_attention(one(x[0]), one(x[1]), one(x[2]), {patterns[static_cast<size_t>(h)]});
    test::check_identical(contiguous(one(together.out)), alone.out, "head " + std::to_string(h));
  }
}

// The patterns of 32 heads travel with one launch.
BOOST_AUTO_TEST_CASE(many_heads_keep_their_own_patterns) {
  HeadPatterns patterns;
  for (int64_t h = 0; h < 67; ++h) patterns.push_back({h % 5 == 0 ? ratel::kNoDilatedKeys : h % 5, h % 3, h % 4});
  const auto x = inputs_of({"", 2, 67, 9, 2});
  const auto exact = test::gradients(reference(patterns), x);
  for (const ratel::Device device : test::devices()) {
    const auto ours = test::gradients(op(patterns), x, {}, device);
    const std::string what = ratel::concat_text("67 heads on ", device);
    test::check_close(ours.out, exact.out, 1e-12, what);
    for (size_t i = 0; i < 3; ++i)
      test::check_close(ours.grads[i], exact.grads[i], 1e-11, what + " gradient " + std::to_string(i));
  }
}

BOOST_AUTO_TEST_CASE(patterns_that_admit_the_same_keys_agree) {
  const auto x = inputs_of({"", 1, 1, 130, 8});
  const auto out = [&](Pattern p) { return dilated_attention(x[0], x[1], x[2], {p}).out; };
  test::check_close(out({-1, 130, 0}), out({1, 0, 0}), 1e-13, "a window over everything is dense");
  test::check_close(out({-1, 0, 130}), out({1, 0, 0}), 1e-13, "initial tokens everywhere are dense");
  test::check_close(out({1, 7, 9}), out({1, 0, 0}), 0, "dense takes no notice of window and initial tokens");
  test::check_close(out({200, 0, 0}), out({-1, 0, 0}), 0, "a dilation beyond the sequence admits no key");
  test::check_close(out({-1, 0, 0}), x[2], 1e-14, "alone, a token sees itself");
}

BOOST_AUTO_TEST_CASE(reads_any_strides_with_a_contiguous_last_axis) {
  const Tensor base = test::randn({2, 70, 3, 24}, 1);  // (B, T, H, 3d)
  std::vector<Tensor> views;
  for (int64_t part = 0; part < 3; ++part) views.push_back(transpose(slice(base, 3, 8 * part, 8 * part + 8), 1, 2));
  BOOST_TEST(!views[0].is_contiguous());
  test::check_against_reference(op({{4, 5, 3}}), reference({{4, 5, 3}}), views, "views");
  for (size_t i = 0; i < 3; ++i) views[i] = transpose(test::randn({2, 2, 1, 40}, i), 2, 3);  // d = 1
  BOOST_TEST(views[0].stride(3) == 40);
  test::check_against_reference(op({{4, 5, 3}}), reference({{4, 5, 3}}), views, "one channel a head, turned");
}

BOOST_AUTO_TEST_CASE(visible_keys_counts_what_sees_says) {
  for (const Pattern& p : kPatterns)
    for (const int64_t T : {1, 2, 5, 64, 65, 130, 400}) {
      int64_t count = 0;
      for (int64_t j = 0; j < T; ++j) count += sees(p, T - 1, j) ? 1 : 0;
      BOOST_TEST(visible_keys(p, T) == count, name_of("T = ", p) << ' ' << T);
    }
}

BOOST_AUTO_TEST_CASE(memory_is_linear_in_time) {
  const auto peak = [](int64_t T) {
    const auto x = inputs_of({"", 1, 1, T, 8});
    ratel::reset_peak_memory();
    const int64_t before = ratel::memory_use().live;
    test::gradients([](const auto& in) { return dilated_attention(in[0], in[1], in[2], {{64, 8, 4}}).out; }, x);
    return ratel::memory_use().peak - before;
  };
  BOOST_TEST(peak(16384) < 2.2 * static_cast<double>(peak(8192)));
}

BOOST_AUTO_TEST_CASE(independent_of_threads) {
  const auto x = inputs_of({"", 1, 2, 1100, 8});
  for (size_t i = 0; i < 3; ++i)
    test::check_thread_independent([&] { return test::gradients(op({{4, 9, 3}}), x).grads[i]; }, "gradient");
  test::check_thread_independent([&] { return dilated_attention(x[0], x[1], x[2], {{4, 9, 3}}).out; }, "forward");
}

BOOST_AUTO_TEST_CASE(large_scores_do_not_overflow) {
  for (const int64_t d : {4, 64}) {
    auto x = inputs_of({"", 1, 1, 100, d});
    for (const size_t i : {0U, 1U}) x[i] = x[i] * 1000;
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const ratel::Device device : test::devices()) {
        const std::vector<Tensor> in{to(x[0], dtype), to(x[1], dtype), to(x[2], dtype)};
        const auto r = test::gradients(op({{3, 2, 1}}), in, {}, device);
        const std::string what = ratel::concat_text("d = ", d, ' ', dtype, " on ", device);
        for (const Tensor& each : {r.out, r.grads[0], r.grads[1], r.grads[2]})
          for (const double value : ratel::to_vector<double>(each)) BOOST_TEST(std::isfinite(value), what);
      }
  }
}

BOOST_AUTO_TEST_CASE(of_no_sequences_there_is_nothing) {
  for (const ratel::Device device : test::devices()) {
    const Tensor none = ratel::empty({0, 2, 4, 6}, DType::f32, device);
    BOOST_TEST(dilated_attention(none, none, none, {{3, 2, 1}}).out.shape() == (ratel::Shape{0, 2, 4, 6}));
  }
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const auto x = inputs_of({"", 1, 2, 5, 4});
  test::check_error(
      [&] { dilated_attention(x[0], slice(x[1], 2, 0, 4), x[2], {{}}); },
      "dilated_attention: expected q, k and v of one shape (B, H, T, d), found (1, 2, 5, 4), (1, 2, 4, 4)");
  test::check_error([&] { dilated_attention(x[0], to(x[1], DType::f32), x[2], {{}}); }, "found f64, f32 and f64");
  test::check_error([&] { dilated_attention(x[0], x[1], x[2], {{0, 0, 0}}); }, "dilation must be at least 1, or -1");
  test::check_error(
      [&] {
        dilated_attention(x[0], x[1], x[2], {{1, -1, 0}});
      },
      "window must not be negative, found -1");
  test::check_error(
      [&] {
        dilated_attention(x[0], x[1], x[2], {{1, 0, -2}});
      },
      "initial must not be negative, found -2");
  test::check_error([&] { dilated_attention(x[0], x[1], x[2], {{}, {}, {}}); }, "one for each of 2 heads, found 3");
  test::check_error(
      [&] { dilated_attention(transpose(x[0], 2, 3), transpose(x[1], 2, 3), transpose(x[2], 2, 3), {{}}); },
      "must be contiguous");
}
