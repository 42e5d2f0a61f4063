#include "ops/block_attention.h"

#include <cmath>

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "core/memory.h"
#include "core/rng.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/threads.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::BlockScore;
using ratel::DType;
using ratel::HeadPatterns;
using ratel::Pattern;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

constexpr BlockScore kScores[] = {BlockScore::last, BlockScore::mean, BlockScore::minmax};

Pattern top(int64_t block, int64_t blocks, BlockScore score = BlockScore::last) {
  return {.dilation = block, .top_blocks = blocks, .score = score};
}

struct Inputs {
  Tensor q, k, v;
};

Inputs normals(int64_t B, int64_t H, int64_t T, int64_t d) {
  const ratel::Shape shape{B, H, T, d};
  return {test::randn(shape, 1), test::randn(shape, 2), test::randn(shape, 3)};
}

/// Queries and keys of whole numbers up to 2, so that every score is exact in every dtype and in any order of
/// summation: kernels and reference choose the same blocks in low precision too, and ties, of which there are many,
/// show that they go to the earlier block. Values are normals.
Inputs whole_numbers(int64_t B, int64_t H, int64_t T, int64_t d, DType dtype = DType::f64, uint64_t seed = 1) {
  ratel::Rng rng(seed);
  const auto draw = [&] {
    std::vector<double> values(static_cast<size_t>(B * H * T * d));
    for (double& value : values) value = static_cast<double>(rng.below(5)) - 2;
    return ratel::from_vector(values, {B, H, T, d}, dtype);
  };
  const Tensor q = draw(), k = draw();
  return {q, k, test::randn({B, H, T, d}, seed + 100, dtype)};
}

Inputs in(const Inputs& x, DType dtype) { return {to(x.q, dtype), to(x.k, dtype), to(x.v, dtype)}; }

Tensor ours(const Inputs& x, const HeadPatterns& p, ratel::Device device = ratel::kCpu) {
  const Tensor out =
      block_attention(ratel::moved_to(x.q, device), ratel::moved_to(x.k, device), ratel::moved_to(x.v, device), p);
  return ratel::moved_to(out, ratel::kCpu);
}

Tensor reference(const Inputs& x, const HeadPatterns& p) { return block_attention_reference(x.q, x.k, x.v, p); }

}  // namespace

BOOST_AUTO_TEST_CASE(every_pattern_equals_its_reference_on_every_path) {
  struct Case {
    const char* path;
    int64_t B, H, T, d, block, blocks;
  };
  // CPU: tiles of 64 queries, runs of 256 keys. GPU: 32 keys or blocks at a time, 128 channels or 1024 of a result.
  for (const Case& c : {
           Case{"one token", 1, 1, 1, 4, 4, 2},
           {"less than a block", 1, 2, 3, 2, 4, 3},
           {"a block", 1, 1, 4, 2, 4, 2},
           {"one past a block", 2, 1, 5, 2, 4, 2},
           {"one short of three blocks: all are seen", 1, 2, 11, 6, 4, 3},
           {"the first block and the own", 1, 1, 40, 6, 4, 2},
           {"one of others", 1, 2, 41, 6, 4, 3},
           {"one less than all", 1, 1, 44, 6, 4, 10},
           {"all", 1, 1, 44, 6, 4, 11},
           {"more than there are", 1, 1, 44, 6, 4, 1000},
           {"one short of a tile of queries", 1, 1, 63, 3, 8, 4},
           {"a tile", 1, 1, 64, 1, 8, 4},
           {"one past a tile", 1, 2, 65, 5, 7, 4},
           {"blocks of a token", 1, 1, 70, 4, 1, 9},
           {"blocks that tiles cut, more than 32 of them", 1, 1, 200, 8, 5, 6},
           {"blocks of more than a run of keys", 1, 1, 900, 4, 270, 3},
           {"a block of 32 keys and one of 33", 1, 1, 140, 4, 33, 3},
           {"past 128 channels", 1, 1, 30, 134, 4, 3},
           {"the most channels", 1, 1, 20, 1024, 4, 3},
           {"a block beyond the sequence", 1, 1, 30, 4, ratel::kLongestSequence, ratel::kLongestSequence},
       })
    for (const BlockScore score : kScores)
      for (const Inputs& x : {normals(c.B, c.H, c.T, c.d), whole_numbers(c.B, c.H, c.T, c.d)}) {
        const HeadPatterns p{top(c.block, c.blocks, score)};
        const Tensor exact = reference(x, p);
        for (const ratel::Device device : test::devices()) {
          if (device.is_cuda() && c.T > 300) continue;  // runs of keys are the CPU's
          test::check_close(ours(x, p, device), exact, 1e-12, ratel::concat_text(c.path, ", ", p[0], " on ", device));
        }
      }
}

BOOST_AUTO_TEST_CASE(low_precision_errs_at_most_twice_as_much_as_the_composed_version) {
  struct Case {
    const char* path;
    int64_t H, T, d;
    Pattern pattern;
  };
  for (const ratel::Device device : test::devices())
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const BlockScore score : kScores)
        for (const Case& c : {Case{"rows of whole 16 bytes", 1, 130, 16, top(8, 4, score)},
                              {"rows at odd addresses", 1, 70, 13, top(3, 5, score)},
                              {"wide", 1, 40, 136, top(4, 4, score)}}) {
          test::RoundingErrors errors;
          for (uint64_t draw = 0; draw < 2; ++draw) {
            const Inputs x = whole_numbers(1, c.H, c.T, c.d, dtype, draw);
            errors.add(ours(x, {c.pattern}, device), reference(x, {c.pattern}),
                       reference(in(x, DType::f64), {c.pattern}));
          }
          errors.check(ratel::concat_text(c.path, ", ", c.pattern, ' ', dtype, " on ", device));
        }
}

// Of the GPU's kernels, bf16 of 64 or 128 channels in tiles: 64 queries, 64 blocks scored at once, 32 keys at once.
BOOST_AUTO_TEST_CASE(tiles_err_at_most_twice_as_much_as_the_composed_version) {
  struct Case {
    const char* path;
    int64_t B, H, T, d, block, blocks;
  };
  for (const Case& c : {
           Case{"a quarter of a tile", 1, 1, 16, 64, 4, 3},
           {"all blocks are seen", 1, 1, 70, 128, 16, 5},
           {"the first block and the own", 2, 1, 64, 64, 8, 2},
           {"one past two tiles", 1, 2, 129, 64, 8, 4},
           {"blocks of more than the keys of a tile", 1, 1, 150, 128, 40, 3},
           {"blocks of a token, one more than are scored at once", 1, 1, 66, 64, 1, 9},
           {"three groups of blocks, which tiles of queries cut", 1, 1, 400, 64, 3, 4},
           {"a block beyond the sequence", 1, 1, 33, 64, ratel::kLongestSequence, ratel::kLongestSequence},
       })
    for (const BlockScore score : kScores)
      for (const ratel::Device device : test::devices()) {
        if (!device.is_cuda()) continue;
        test::RoundingErrors errors;
        const HeadPatterns p{top(c.block, c.blocks, score)};
        for (uint64_t draw = 0; draw < 2; ++draw) {
          const Inputs x = whole_numbers(c.B, c.H, c.T, c.d, DType::bf16, draw);
          errors.add(ours(x, p, device), reference(x, p), reference(in(x, DType::f64), p));
        }
        errors.check(ratel::concat_text(c.path, ", ", p[0], " on ", device));
      }
}

// The mean of a block is held in f32, and tiles choose by all of its bits: sums of 449 and 449 + 2^-11 are three bf16,
// 448, 1 and the rest.
BOOST_AUTO_TEST_CASE(tiles_choose_by_sums_of_all_their_bits) {
  constexpr int64_t kTokens = 80, kWidth = 64, kBlock = 8, kBest = 5;
  std::vector<double> k(kTokens * kWidth, 0.0), v(kTokens * kWidth, 0.0);
  const auto key = [&](int64_t j) -> double& { return k[static_cast<size_t>(j * kWidth)]; };
  for (int64_t j = 0; j < kTokens; ++j) key(j) = j % kBlock == 0 ? 0 : j % kBlock == 1 ? 65 : 64;
  key(kBest * kBlock) = 0x1p-11;
  for (int64_t j = kBest * kBlock; j < (kBest + 1) * kBlock; ++j) v[static_cast<size_t>(j * kWidth)] = 1;
  const ratel::Shape shape{1, 1, kTokens, kWidth};
  const Tensor q = ratel::zeros(shape, DType::f64);
  for (int64_t i = 0; i < kTokens; ++i) q.data<double>()[i * kWidth] = 1;
  const Inputs x = in({q, ratel::from_vector(k, shape), ratel::from_vector(v, shape)}, DType::bf16);
  for (const ratel::Device device : test::devices()) {
    const auto out = ratel::to_vector<double>(to(ours(x, {top(kBlock, 3, BlockScore::mean)}, device), DType::f64));
    for (int64_t i = (kBest + 1) * kBlock; i < kTokens; ++i)
      BOOST_TEST(out[static_cast<size_t>(i * kWidth)] > 0.2, "query " << i << " on " << device);
  }
}

// By hand: D = 2, blocks of keys 0 1 | 2 3 | 4 5 | 6 7; query 8 sees 8, the first block and one other.
BOOST_AUTO_TEST_CASE(each_score_chooses_its_block) {
  //                             block 1      block 2       block 3
  const std::vector<double> k{0, 0, 9, 0, 4, 4, -6, 8, 0, 0};
  // last: 0 < 4 < 8. mean: 4.5 > 4 > 1. Times -1, last: 0 first; mean: 1 the least. minmax of q = 1: 9 > 8 > 4.
  const auto chosen = [&](BlockScore score, double query) {
    std::vector<double> keys(9), values(9, 0.0), queries(9, query);
    for (size_t j = 0; j < 8; ++j) keys[j] = k[j];
    for (size_t j = 2; j < 8; ++j) values[j] = std::floor(static_cast<double>(j) / 2);
    std::vector<double> seen;
    for (const ratel::Device device : test::devices()) {
      const ratel::Shape shape{1, 1, 9, 1};
      const Inputs x{ratel::from_vector(queries, shape), ratel::from_vector(keys, shape),
                     ratel::from_vector(values, shape)};
      // Which value reached the last query: the softmax's weights are known.
      const double out = ratel::to_vector<double>(ours(x, {top(2, 3, score)}, device)).back();
      int found = 0;
      for (size_t block = 1; block <= 3; ++block) {
        double total = std::exp(0) * 3, weighted = 0;
        for (size_t j = 2 * block; j < 2 * block + 2; ++j) {
          total += std::exp(query * keys[j]);
          weighted += std::exp(query * keys[j]) * static_cast<double>(block);
        }
        if (std::abs(out - weighted / total) < 1e-9) seen.push_back(static_cast<double>(block)), ++found;
      }
      BOOST_TEST(found == 1);
    }
    for (const double block : seen) BOOST_TEST(block == seen.front());
    return static_cast<int>(seen.front());
  };
  BOOST_TEST(chosen(BlockScore::last, 1) == 3);
  BOOST_TEST(chosen(BlockScore::mean, 1) == 1);
  BOOST_TEST(chosen(BlockScore::minmax, 1) == 1);
  BOOST_TEST(chosen(BlockScore::last, -1) == 1);
  BOOST_TEST(chosen(BlockScore::mean, -1) == 3);
  BOOST_TEST(chosen(BlockScore::minmax, -1) == 3);
}

BOOST_AUTO_TEST_CASE(of_equal_scores_the_earlier_block_is_seen) {
  const ratel::Shape shape{1, 1, 64, 4};
  const Inputs same{ratel::ones(shape, DType::f64), ratel::ones(shape, DType::f64), test::randn(shape, 1)};
  const auto v = ratel::to_vector<double>(same.v);
  for (const ratel::Device device : test::devices())
    for (const BlockScore score : kScores) {
      const auto out = ratel::to_vector<double>(ours(same, {top(4, 5, score)}, device));
      for (size_t c = 0; c < 4; ++c) {  // query 63 sees keys [0, 16) and its own block, [60, 64), all with one weight
        double total = 0;
        for (size_t j = 0; j < 64; ++j)
          if (j < 16 || j >= 60) total += v[j * 4 + c];
        BOOST_TEST(std::abs(out[size_t{63} * 4 + c] - total / 20) < 1e-12);
      }
    }
}

BOOST_AUTO_TEST_CASE(all_blocks_are_dense_attention) {
  const Inputs x = normals(2, 2, 150, 8);
  for (const BlockScore score : kScores)
    for (const ratel::Device device : test::devices())
      test::check_close(ours(x, {top(16, 10, score)}, device),
                        dilated_attention_reference(x.q, x.k, x.v, {{1, 0, 0}}).out, 1e-12, "all blocks");
}

BOOST_AUTO_TEST_CASE(heads_keep_their_own_patterns) {
  const Inputs x = normals(2, 5, 90, 4);
  const HeadPatterns patterns{{8, 3, 0}, top(8, 3), {1, 0, 0}, {-1, 4, 2}, top(5, 4, BlockScore::minmax)};
  const Tensor exact = reference(x, patterns);
  for (const ratel::Device device : test::devices()) {
    const Tensor together = ours(x, patterns, device);
    test::check_close(together, exact, 1e-12, "five heads");
    for (int64_t h = 0; h < 5; ++h) {
      const auto one = [&](const Tensor& t) { return slice(t, 1, h, h + 1); };
      const Tensor alone = ours({one(x.q), one(x.k), one(x.v)}, {patterns[static_cast<size_t>(h)]}, device);
      test::check_identical(contiguous(one(together)), alone, ratel::concat_text("head ", h, " on ", device));
    }
  }
  const Tensor dilated = ours(x, {{4, 5, 3}});
  test::check_identical(dilated, dilated_attention(x.q, x.k, x.v, {{4, 5, 3}}).out, "dilated heads alone");
}

// The patterns of 32 heads travel with one launch.
BOOST_AUTO_TEST_CASE(many_heads_keep_their_own_patterns) {
  HeadPatterns patterns;
  for (int64_t h = 0; h < 67; ++h)
    patterns.push_back(h % 3 == 0 ? Pattern{h % 5 + 1, h % 3, h % 4} : top(h % 5 + 1, h % 4 + 2, kScores[h % 3]));
  const Inputs x = normals(2, 67, 19, 2);
  const Tensor exact = reference(x, patterns);
  for (const ratel::Device device : test::devices())
    test::check_close(ours(x, patterns, device), exact, 1e-12, "67 heads");
}

// A GPU has at most 8192 warps at work on queries, which then take another each.
BOOST_AUTO_TEST_CASE(more_queries_than_warps_equal_the_reference) {
  const Inputs x = normals(75, 2, 55, 2);
  for (const BlockScore score : {BlockScore::last, BlockScore::minmax}) {
    const HeadPatterns p{top(4, 3, score), top(6, 4, score)};
    const Tensor exact = reference(x, p);
    for (const ratel::Device device : test::devices())
      test::check_close(ours(x, p, device), exact, 1e-12, ratel::concat_text(p[0], " on ", device));
  }
}

BOOST_AUTO_TEST_CASE(reads_any_strides_with_a_contiguous_last_axis) {
  for (const DType dtype : {DType::f64, DType::bf16}) {
    const Tensor base = test::randn({2, 40, 2, 25}, 1, dtype);  // (B, T, H, 3d + 1)
    const auto parts = [](const Tensor& from) {
      const auto part = [&](int64_t n) { return transpose(slice(from, 3, 8 * n, 8 * n + 8), 1, 2); };
      return Inputs{part(0), part(1), part(2)};
    };
    const Inputs views = parts(base);
    const Inputs copies{contiguous(views.q), contiguous(views.k), contiguous(views.v)};
    BOOST_TEST(!views.q.is_contiguous());
    for (const ratel::Device device : test::devices())
      for (const BlockScore score : kScores) {
        const Inputs there = parts(ratel::moved_to(base, device));
        const HeadPatterns p{top(6, 4, score)};
        const Tensor out = ratel::moved_to(block_attention(there.q, there.k, there.v, p), ratel::kCpu);
        test::check_close(to(out, DType::f64), to(ours(copies, p, device), DType::f64),
                          dtype == DType::f64 ? 1e-13 : 1e-2, "views");
      }
  }
}

BOOST_AUTO_TEST_CASE(visible_keys_counts_what_a_query_sees) {
  for (const Pattern& p : {top(4, 2), top(4, 5), top(1, 3), top(7, 100)})
    for (const int64_t T : {1, 3, 4, 5, 8, 28, 29, 50}) {
      const ratel::Shape shape{1, 1, T, 1};
      const Tensor zeros = ratel::zeros(shape, DType::f64);
      // All keys alike: the last query's output is the share of what it sees that is token 0, which it always sees.
      std::vector<double> values(static_cast<size_t>(T), 0.0);
      values[0] = 1;
      const auto out = ratel::to_vector<double>(ours({zeros, zeros, ratel::from_vector(values, shape)}, {p}));
      BOOST_TEST(std::abs(1 / out.back() - static_cast<double>(visible_keys(p, T))) < 1e-9, p << " T = " << T);
    }
}

BOOST_AUTO_TEST_CASE(memory_is_linear_in_time) {
  const auto peak = [](int64_t T) {
    const Inputs x = normals(1, 1, T, 8);
    ratel::reset_peak_memory();
    const int64_t before = ratel::memory_use().live;
    ours(in(x, DType::bf16), {top(64, 4, BlockScore::minmax)});
    return ratel::memory_use().peak - before;
  };
  ratel::set_num_threads(1);  // each works in memory of its own
  BOOST_TEST(peak(8192) < 2.2 * static_cast<double>(peak(4096)));
  ratel::set_num_threads(0);
}

BOOST_AUTO_TEST_CASE(independent_of_threads) {
  const Inputs x = in(normals(1, 2, 700, 8), DType::f32);
  for (const BlockScore score : kScores)
    test::check_thread_independent([&] { return ours(x, {top(16, 5, score)}); }, "forward");
}

BOOST_AUTO_TEST_CASE(numbers_that_are_none_stay_where_they_are_seen) {
  Inputs x = normals(1, 1, 40, 4);
  x.k.data<double>()[int64_t{20} * 4] = std::nan("");  // key 20, in block 5 of 10
  for (const ratel::Device device : test::devices())
    for (const BlockScore score : kScores) {
      const auto out = ratel::to_vector<double>(ours(x, {top(4, 3, score)}, device));
      for (size_t i = 0; i < size_t{20} * 4; ++i) BOOST_TEST(std::isfinite(out[i]));
    }
  Inputs large = normals(1, 1, 100, 4);
  for (const Tensor& t : {large.q, large.k})
    for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] *= 1000;
  for (const ratel::Device device : test::devices())
    for (const double value : ratel::to_vector<double>(ours(in(large, DType::f32), {top(8, 4)}, device)))
      BOOST_TEST(std::isfinite(value));
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const Inputs x = normals(1, 2, 5, 4);
  test::check_error([&] { block_attention(x.q, slice(x.k, 2, 0, 4), x.v, {top(2, 2)}); },
                    "block_attention: expected q, k and v of one shape (B, H, T, d), found (1, 2, 5, 4), (1, 2, 4, 4)");
  test::check_error([&] { block_attention(x.q, to(x.k, DType::f32), x.v, {{}}); }, "found f64, f32 and f64");
  test::check_error([&] { block_attention(x.q, x.k, x.v, {top(2, 1)}); }, "top-k needs at least 2 blocks");
  test::check_error([&] { block_attention(x.q, x.k, x.v, {top(-1, 2)}); }, "top-k blocks need a size of at least 1");
  test::check_error([&] { block_attention(x.q, x.k, x.v, {{.dilation = 2, .window = 1, .top_blocks = 2}}); },
                    "top-k blocks have no window and no initial tokens, found 1 and 0");
  test::check_error([&] { block_attention(x.q, x.k, x.v, {{}, {}, {}}); }, "one for each of 2 heads, found 3");
  test::check_error(
      [&] { block_attention(transpose(x.q, 2, 3), transpose(x.k, 2, 3), transpose(x.v, 2, 3), {top(2, 2)}); },
      "must be contiguous");
  const Tensor wide = test::randn({1, 1, 2, 1025}, 1);
  test::check_error([&] { block_attention(wide, wide, wide, {top(2, 2)}); }, "at most 1024 channels");
  test::check_error([&] { dilated_attention(x.q, x.k, x.v, {top(2, 2)}); },
                    "dilated_attention: expected dilated patterns, found top-k blocks");
}

BOOST_AUTO_TEST_CASE(a_gradient_is_refused) {
  const Inputs x = normals(1, 1, 9, 4);
  requires_grad(x.k);
  test::check_error([&] { block_attention(x.q, x.k, x.v, {top(2, 2)}); },
                    "block_attention: attention over top-k blocks has no gradient\nhint: evaluate under NoGrad");
  const ratel::NoGrad no_grad;
  BOOST_TEST(!ratel::needs_grad(block_attention(x.q, x.k, x.v, {top(2, 2)})));
}
