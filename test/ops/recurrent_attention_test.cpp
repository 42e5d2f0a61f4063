#include "ops/recurrent_attention.h"

#include <cmath>
#include <limits>

#include "autograd/grad_mode.h"
#include "core/memory.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/gradcheck.h"

using ratel::DType;
using ratel::HeadPatterns;
using ratel::Pattern;
using ratel::Recurrence;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

struct Case {
  const char* path;
  int64_t B, T, heads, d;
};

// Recurrence: chunks of 32 tokens. Attention: tiles of 64 queries, runs of 256 keys, stretches of 512 queries backward.
const Case kCases[] = {
    {"one token", 1, 1, 1, 2},
    {"one short of a chunk", 2, 31, 1, 2},
    {"one past a chunk", 1, 33, 3, 4},
    {"a tile", 1, 64, 2, 6},
    {"one past a tile", 2, 65, 2, 4},
    {"past a run of keys", 1, 259, 1, 4},
    {"two stretches of queries", 1, 530, 1, 2},
};

Tensor projection_of(const Case& c, Recurrence recurrence) {
  return test::randn({c.B, c.T, (recurrence == Recurrence::gated ? 5 : 4) * c.heads * c.d}, 1);
}

test::TensorFunction op(int64_t heads, const HeadPatterns& p, Recurrence r = Recurrence::gated) {
  return [=](const auto& x) { return recurrent_attention(x[0], heads, p, r); };
}
test::TensorFunction reference(int64_t heads, const HeadPatterns& p, Recurrence r = Recurrence::gated) {
  return [=](const auto& x) { return recurrent_attention_reference(x[0], heads, p, r); };
}

}  // namespace

BOOST_AUTO_TEST_CASE(equals_its_reference_on_every_path) {
  for (const Case& c : kCases)
    for (const Recurrence r : {Recurrence::gated, Recurrence::none})
      for (const Pattern& p : {Pattern{1, 0, 0}, Pattern{16, 0, 0}, Pattern{4, 5, 3}, Pattern{-1, 20, 2}}) {
        if (c.T > 300 && p.dilation != 16) continue;
        const std::vector<Tensor> x{projection_of(c, r)};
        const auto exact = test::gradients(reference(c.heads, {p}, r), x);
        for (const ratel::Device device : test::devices()) {
          const auto ours = test::gradients(op(c.heads, {p}, r), x, {}, device);
          const std::string what =
              ratel::concat_text(c.path, ", ", p, r == Recurrence::gated ? ", gated" : ", ungated", " on ", device);
          test::check_close(ours.out, exact.out, 1e-12, what);
          test::check_close(ours.grads[0], exact.grads[0], 1e-11, what + " gradient");
        }
      }
}

BOOST_AUTO_TEST_CASE(low_precision_errs_at_most_twice_as_much_as_the_composed_version) {
  const test::OwnDenseAttention own;
  for (const Pattern& p : {Pattern{1, 0, 0}, Pattern{16, 0, 0}, Pattern{4, 5, 3}})
    test::check_against_reference(op(2, {p}), reference(2, {p}),
                                  {projection_of({"", 2, 140, 2, 16}, Recurrence::gated)},
                                  ratel::concat_text("f32 and bf16, ", p));
}

// On a GPU heads of 64 channels in bf16 go to the tensor cores, with the output gate in their epilogue.
BOOST_AUTO_TEST_CASE(heads_for_tensor_cores_err_at_most_twice_as_much_as_the_composed_version) {
  for (const Recurrence r : {Recurrence::gated, Recurrence::none})
    test::check_against_reference(op(2, {{16, 0, 0}, {3, 9, 2}}, r), reference(2, {{16, 0, 0}, {3, 9, 2}}, r),
                                  {projection_of({"", 1, 75, 2, 64}, r)},
                                  r == Recurrence::gated ? "gated, a pattern a head" : "ungated, a pattern a head");
}

// Where no head has a window the recurrence's backward makes the gradients of keys that their own query alone sees.
BOOST_AUTO_TEST_CASE(both_kinds_of_products_err_at_most_twice_as_much_as_the_composed_version) {
  using ratel::cuda::AttentionProducts;
  for (const auto products : {AttentionProducts::of_warp, AttentionProducts::of_warpgroup})
    test::with_attention_products(products, [&] {
      for (const HeadPatterns& patterns : {HeadPatterns{{16, 0, 0}, {3, 9, 2}}, HeadPatterns{{16, 0, 0}, {5, 0, 3}},
                                           HeadPatterns{{-1, 0, 2}, {1, 0, 0}}})
        for (const int64_t d : {64, 128})
          test::check_rounding_on_gpus(
              op(2, patterns), reference(2, patterns), {projection_of({"", 1, 75, 2, d}, Recurrence::gated)},
              DType::bf16,
              ratel::concat_text("d = ", d, ", ", patterns[0], " and ", patterns[1],
                                 products == AttentionProducts::of_warp ? " of warps" : " of warpgroups"));
    });
}

// A block of the recurrence has 64 channels of a sequence and walks its tokens in tiles of 16; it has 128 where those
// are 128 blocks and keep multiprocessors busy, and a part of the tokens where blocks are few.
BOOST_AUTO_TEST_CASE(blocks_of_the_recurrence_err_at_most_twice_as_much_as_the_composed_version) {
  for (const Case& c : {Case{"time in segments, the last ragged", 1, 260, 1, 64},
                        Case{"far keys' gradients in slices of queries", 1, 520, 1, 64},
                        Case{"128 blocks of 128 channels, a head each", 64, 5, 2, 128},
                        Case{"128 blocks of 128 channels, two heads each", 128, 17, 2, 64},
                        Case{"128 blocks of 128 channels, every second half empty", 64, 5, 3, 64},
                        Case{"more heads than an attention's launch has", 1, 17, 34, 64},
                        Case{"more heads than the recurrence's backward knows patterns of", 1, 17, 66, 64}}) {
    HeadPatterns patterns(static_cast<size_t>(c.heads), Pattern{16, 0, 0});
    patterns.back() = {3, 0, 2};
    test::check_rounding_on_gpus(op(c.heads, patterns), reference(c.heads, patterns),
                                 {projection_of(c, Recurrence::gated)}, DType::bf16, c.path);
  }
}

// 128 channels of the recurrence's backward are 118 KiB; a block has 99 KiB on compute capability 8.6, 8.9 and 12.0.
BOOST_AUTO_TEST_CASE(blocks_have_64_channels_where_128_would_be_too_much_shared_memory) {
  const test::TwinSharedMemory little(size_t{99} << 10);
  test::check_rounding_on_gpus(op(2, {{16, 0, 0}}), reference(2, {{16, 0, 0}}),
                               {projection_of({"", 64, 5, 2, 128}, Recurrence::gated)}, DType::bf16, "99 KiB a block");
}

// Dense heads in bf16 go to cuDNN on a GPU, and the output gate to a kernel of its own: 256 threads by 8 channels.
BOOST_AUTO_TEST_CASE(dense_heads_err_at_most_twice_as_much_as_the_composed_version) {
  struct Sized {
    const char* path;
    Case sizes;
    Recurrence recurrence;
  };
  for (const Sized& c : {Sized{"two tokens", {"", 2, 2, 1, 8}, Recurrence::gated},
                         {"gated, d = 64", {"", 2, 75, 2, 64}, Recurrence::gated},
                         {"ungated, values read in the projection, d = 16", {"", 2, 130, 3, 16}, Recurrence::none},
                         {"more channels than the gate's block takes at once", {"", 1, 4, 33, 64}, Recurrence::none}})
    test::check_rounding_on_gpus(op(c.sizes.heads, {{}}, c.recurrence), reference(c.sizes.heads, {{}}, c.recurrence),
                                 {projection_of(c.sizes, c.recurrence)}, DType::bf16, c.path);
}

// The sigmoid of what is far below zero is 0 to the last bit: of such a channel nothing is left, and no quotient.
BOOST_AUTO_TEST_CASE(output_gates_of_zero_leave_nothing) {
  for (const int64_t d : {6, 64}) {
    const Tensor x = projection_of({"", 1, 20, 2, d}, Recurrence::gated);
    copy_into(slice(x, 2, 0, d), slice(x, 2, 0, d) - 1000.0);  // of the first head
    for (const Pattern& p : {Pattern{4, 5, 3}, Pattern{4, 0, 0}})
      for (const DType dtype : {DType::f64, DType::f32, DType::bf16})
        for (const ratel::Device device : test::devices()) {
          const auto ours = test::gradients(op(2, {p}), {to(x, dtype)}, {}, device);
          const std::string what = ratel::concat_text("d = ", d, ", ", p, ' ', dtype, " on ", device);
          test::check_close(slice(ours.out, 2, 0, d), ratel::zeros({1, 20, d}, dtype), 0, what);
          for (const double value : ratel::to_vector<double>(ours.grads[0])) BOOST_TEST(std::isfinite(value), what);
        }
  }
}

// Which blocks are seen depends on the numbers, so that this is f64, where scores differ by far more than they round.
BOOST_AUTO_TEST_CASE(top_blocks_equal_their_reference) {
  const auto top = [](int64_t block, int64_t blocks, ratel::BlockScore score) {
    return Pattern{.dilation = block, .top_blocks = blocks, .score = score};
  };
  const HeadPatterns patterns[] = {{top(8, 3, ratel::BlockScore::last)},
                                   {top(8, 4, ratel::BlockScore::mean)},
                                   {top(5, 4, ratel::BlockScore::minmax)},
                                   {top(4, 3, ratel::BlockScore::last), {16, 2, 1}}};
  for (const Case& c : {Case{"less than a block", 1, 3, 2, 4}, Case{"blocks across tiles", 2, 90, 2, 6}})
    for (const Recurrence r : {Recurrence::gated, Recurrence::none})
      for (const HeadPatterns& p : patterns) {
        const Tensor x = projection_of(c, r), exact = reference(c.heads, p, r)({x});
        for (const ratel::Device device : test::devices())
          test::check_close(ratel::moved_to(op(c.heads, p, r)({ratel::moved_to(x, device)}), ratel::kCpu), exact, 1e-12,
                            ratel::concat_text(c.path, ", ", p[0], " on ", device));
      }
}

BOOST_AUTO_TEST_CASE(all_blocks_in_low_precision_err_at_most_twice_as_much_as_dense_attention) {
  const Pattern all{.dilation = 16, .top_blocks = 100, .score = ratel::BlockScore::mean};
  const ratel::NoGrad no_grad;
  for (const ratel::Device device : test::devices())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      test::RoundingErrors errors;
      for (uint64_t draw = 0; draw < 4; ++draw) {
        const Tensor x = test::randn({1, 100, 160}, draw, dtype);
        const Tensor ours = ratel::moved_to(op(2, {all})({ratel::moved_to(x, device)}), ratel::kCpu);
        errors.add(ours, reference(2, {{}})({x}), reference(2, {{}})({to(x, DType::f64)}));
      }
      errors.check(ratel::concat_text("all blocks, ", dtype, " on ", device));
    }
}

BOOST_AUTO_TEST_CASE(gradients) {
  const Case c{"", 2, 37, 2, 4};
  const HeadPatterns hybrid{{8, 0, 0}, {-1, 4, 2}};
  test::gradcheck(op(2, hybrid), {projection_of(c, Recurrence::gated)}, "gated, a pattern a head", 120);
  test::gradcheck(op(2, hybrid, Recurrence::none), {projection_of(c, Recurrence::none)}, "ungated", 120);
}

BOOST_AUTO_TEST_CASE(a_later_token_changes_nothing_before_it) {
  const Case c{"", 1, 90, 2, 4};
  const Tensor x = projection_of(c, Recurrence::gated), y = clone(x);
  copy_into(slice(y, 1, 70, 90), test::randn({1, 20, 40}, 9));
  for (const Pattern& p : {Pattern{1, 0, 0}, Pattern{16, 3, 2}}) {
    const auto first = [&](const Tensor& in) { return contiguous(slice(recurrent_attention(in, 2, {p}), 1, 0, 70)); };
    test::check_identical(first(y), first(x), "the first 70 tokens");
  }
}

BOOST_AUTO_TEST_CASE(memory_is_linear_in_time) {
  const auto peak = [](int64_t T) {
    const std::vector<Tensor> x{test::randn({1, T, 40}, 1, DType::f32)};
    ratel::reset_peak_memory();
    const int64_t before = ratel::memory_use().live;
    test::gradients(op(2, {{64, 0, 0}}), x);
    return ratel::memory_use().peak - before;
  };
  BOOST_TEST(peak(16384) < 2.2 * static_cast<double>(peak(8192)));
}

BOOST_AUTO_TEST_CASE(independent_of_threads) {
  const std::vector<Tensor> x{projection_of({"", 2, 600, 2, 4}, Recurrence::gated)};
  test::check_thread_independent([&] { return op(2, {{16, 5, 2}})(x); }, "forward");
  test::check_thread_independent([&] { return test::gradients(op(2, {{16, 5, 2}}), x).grads[0]; }, "gradient");
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Tensor x = test::randn({1, 6, 40}, 1);
  test::check_error([&] { recurrent_attention(x, 3, {{}}); }, "3 heads do not divide 8 channels into even widths");
  constexpr int64_t kMostHeads = std::numeric_limits<int64_t>::max();  // of which twice as many are no number
  test::check_error([&] { recurrent_attention(x, kMostHeads, {{}}); },
                    " heads do not divide 8 channels into even widths");
  test::check_error([&] { recurrent_attention(x, 8, {{}}); }, "8 heads do not divide 8 channels into even widths");
  test::check_error(
      [&] {
        recurrent_attention(test::randn({1, 6, 41}, 1), 1, {{}});
      },
      "expected a projection (B, T, 5C) with T >= 1, found (1, 6, 41)");
  test::check_error([&] { recurrent_attention(test::randn({6, 40}, 1), 1, {{}}); }, "found (6, 40)");
  test::check_error(
      [&] {
        recurrent_attention(slice(test::randn({1, 6, 80}, 1), 2, 0, 40), 1, {{}});
      },
      "must be contiguous");
  test::check_error([&] { recurrent_attention(to(x, DType::i64), 1, {{}}); }, "expected a float dtype, found i64");
  test::check_error([&] { recurrent_attention(x, 2, {{-2, 0, 0}}); }, "dilation must be at least 1, or -1");
  requires_grad(x);
  test::check_error([&] { recurrent_attention(x, 2, {{.dilation = 2, .top_blocks = 2}}); },
                    "recurrent_attention: attention over top-k blocks has no gradient");
}
