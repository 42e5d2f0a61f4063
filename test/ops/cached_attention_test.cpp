#include "ops/cached_attention.h"

#include <numeric>
#include <set>

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

using ratel::AttentionCache;
using ratel::BlockScore;
using ratel::cache_slots;
using ratel::CacheSlots;
using ratel::DType;
using ratel::HeadPatterns;
using ratel::Pattern;
using ratel::Recurrence;
using ratel::Shape;
using ratel::Tensor;
namespace test = ratel::test;

namespace {

const Pattern kPatterns[] = {{1, 0, 0},  {1, 3, 2},  {16, 0, 0}, {4, 5, 3},   {3, 0, 7},  {2, 1, 0},
                             {5, 20, 4}, {-1, 0, 0}, {-1, 6, 2}, {64, 70, 0}, {7, 6, 13}, {1000, 9, 1}};

constexpr BlockScore kScores[] = {BlockScore::last, BlockScore::mean, BlockScore::minmax};

/// How many new tokens each of B sequences is fed in one call.
using Piece = std::vector<int64_t>;

Tensor positions(const std::vector<int64_t>& values, ratel::Device device) {
  return to(ratel::from_vector(values, {static_cast<int64_t>(values.size())}, DType::i64), device);
}

/// cached_attention over a projection (B, T, parts C), fed in pieces: (B, T, C), zeros where nothing was fed.
Tensor fed_in(const std::vector<Piece>& pieces, const Tensor& projection, int64_t heads, const HeadPatterns& patterns,
              Recurrence recurrence, ratel::Device device = ratel::kCpu, int64_t capacity = 0) {
  const ratel::NoGrad no_grad;
  const int64_t B = projection.dim(0), T = projection.dim(1), width = projection.dim(2);
  const int64_t C = width / (recurrence == Recurrence::gated ? 5 : 4);
  AttentionCache cache(B, std::max(T, capacity), C, heads, patterns, recurrence, projection.dtype(), device);
  Tensor out = zeros_like(slice(projection, 2, 0, C));
  std::vector<int64_t> lengths(static_cast<size_t>(B), 0);
  for (const Piece& counts : pieces) {
    const int64_t n = std::max<int64_t>(1, *std::max_element(counts.begin(), counts.end()));
    Tensor rows = ratel::full({B, n, width}, 3, projection.dtype());  // what is no token must not matter, gates ajar
    for (int64_t b = 0; b < B; ++b) {
      const int64_t length = lengths[static_cast<size_t>(b)], count = counts[static_cast<size_t>(b)];
      if (count == 0) continue;
      copy_into(slice(slice(rows, 0, b, b + 1), 1, 0, count),
                slice(slice(projection, 0, b, b + 1), 1, length, length + count));
    }
    const Tensor y =
        to(cached_attention(to(rows, device), cache, {positions(lengths, device), positions(counts, device)}),
           ratel::kCpu);
    for (int64_t b = 0; b < B; ++b) {
      const int64_t length = lengths[static_cast<size_t>(b)], count = counts[static_cast<size_t>(b)];
      const Tensor row = slice(y, 0, b, b + 1);
      if (count > 0) copy_into(slice(slice(out, 0, b, b + 1), 1, length, length + count), slice(row, 1, 0, count));
      if (count < n) test::check_identical(slice(row, 1, count, n), zeros_like(slice(row, 1, count, n)), "no token");
      lengths[static_cast<size_t>(b)] += count;
    }
  }
  return out;
}

/// T tokens of every sequence in pieces of these sizes, over and over.
std::vector<Piece> pieces_of(int64_t B, int64_t T, const std::vector<int64_t>& sizes) {
  std::vector<Piece> pieces;
  for (int64_t done = 0, i = 0; done < T; ++i) {
    const int64_t n = std::min(T - done, sizes[static_cast<size_t>(i) % sizes.size()]);
    pieces.emplace_back(static_cast<size_t>(B), n);
    done += n;
  }
  return pieces;
}

Tensor projection_of(int64_t B, int64_t T, int64_t C, Recurrence recurrence, uint64_t seed = 1) {
  return test::randn({B, T, (recurrence == Recurrence::gated ? 5 : 4) * C}, seed);
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_visible_key_has_a_slot_of_its_own) {
  for (const Pattern& p : kPatterns)
    for (const int64_t capacity : {1, 2, 15, 16, 17, 40, 150}) {
      const CacheSlots slots(p, capacity);
      std::vector<int64_t> holds(static_cast<size_t>(slots.count()), -1);
      for (int64_t i = 0; i < capacity; ++i) {
        std::vector<int64_t> seen;
        for (int64_t n = 0; n < slots.visible(i); ++n) {
          const int64_t slot = slots.visible_slot(i, n);
          BOOST_REQUIRE(slot >= 0 && slot < slots.count());
          seen.push_back(holds[static_cast<size_t>(slot)]);
        }
        std::sort(seen.begin(), seen.end());
        std::vector<int64_t> expected;
        for (int64_t j = 0; j < i; ++j)
          if (sees(p, i, j)) expected.push_back(j);
        BOOST_TEST_REQUIRE(seen == expected, p << ", capacity " << capacity << ", query " << i);
        if (slots.keeps(i)) holds[static_cast<size_t>(slots.slot(i))] = i;
      }
    }
}

BOOST_AUTO_TEST_CASE(slots_are_as_many_as_the_formula_says) {
  BOOST_TEST(cache_slots({1, 9, 9}, 4096) == 4096);
  BOOST_TEST(cache_slots({16, 0, 0}, 4096) == 256);
  BOOST_TEST(cache_slots({64, 256, 4}, 4096) == 64 + (256 - 4) + 4);
  BOOST_TEST(cache_slots({-1, 100, 4}, 4096) == 104);
  BOOST_TEST(cache_slots({-1, 100, 4}, 50) == 50);
  BOOST_TEST(cache_slots({16, 0, 0, 4}, 4096) == 4096);  // top-k blocks keep all
  BOOST_TEST(cache_slots({-1, 0, 0}, 4096) == 0);
}

// One token at a time (decode), all at once, and pieces around the tile of 64 queries.
BOOST_AUTO_TEST_CASE(equals_recurrent_attention_in_any_pieces) {
  const std::vector<std::vector<int64_t>> all_sizes{{1}, {1000}, {3, 1, 66, 1, 5}, {64}, {7}};
  for (const Recurrence r : {Recurrence::gated, Recurrence::none})
    for (const Pattern& p : kPatterns) {
      const int64_t B = 2, T = 150, heads = 2, C = 12;
      const Tensor x = projection_of(B, T, C, r);
      const Tensor expected = recurrent_attention(x, heads, {p}, r);
      for (const ratel::Device device : test::devices())
        for (const auto& sizes : all_sizes) {
          // The others hit the same paths; without recurrence the attention is the same kernels.
          if (test::is_imitated(device) &&
              (sizes[0] == 64 || sizes[0] == 7 || (r == Recurrence::none && p != kPatterns[3] && p != kPatterns[8])))
            continue;
          test::check_close(fed_in(pieces_of(B, T, sizes), x, heads, {p}, r, device), expected, 1e-12,
                            ratel::concat_text(p, " in pieces of ", sizes[0], ", ... on ", device));
        }
    }
}

BOOST_AUTO_TEST_CASE(sequences_of_a_batch_may_differ_in_length) {
  const HeadPatterns hybrid{{4, 5, 3}, {-1, 9, 0}, {16, 0, 0}};
  const std::vector<Piece> pieces{{5, 0, 40}, {1, 1, 1}, {0, 17, 3}, {1, 0, 1}, {33, 1, 0}, {1, 1, 1}};
  const Tensor x = projection_of(3, 50, 12, Recurrence::gated, 3);
  for (const ratel::Device device : test::devices()) {
    const Tensor out = fed_in(pieces, x, 3, hybrid, Recurrence::gated, device);
    const Tensor expected = recurrent_attention(x, 3, hybrid);
    const int64_t lengths[] = {41, 20, 46};
    for (int64_t b = 0; b < 3; ++b) {
      const auto of = [&](const Tensor& y) { return slice(slice(y, 0, b, b + 1), 1, 0, lengths[b]); };
      test::check_close(of(out), of(expected), 1e-12, ratel::concat_text("sequence ", b, " on ", device));
    }
  }
}

// On a GPU the recurrence of a long piece is cut into segments of time, of which a shorter sequence beside it fills
// some, one in part.
BOOST_AUTO_TEST_CASE(long_pieces_may_differ_in_length) {
  const HeadPatterns patterns{{16, 20, 2}};
  const std::vector<Piece> pieces{{7, 0, 30}, {300, 150, 1}, {1, 1, 1}};
  const Tensor x = projection_of(3, 308, 4, Recurrence::gated, 5);
  const Tensor expected = recurrent_attention(x, 2, patterns);
  const int64_t lengths[] = {308, 151, 32};
  for (const ratel::Device device : test::devices()) {
    const Tensor out = fed_in(pieces, x, 2, patterns, Recurrence::gated, device);
    for (int64_t b = 0; b < 3; ++b) {
      const auto of = [&](const Tensor& y) { return slice(slice(y, 0, b, b + 1), 1, 0, lengths[b]); };
      test::check_close(of(out), of(expected), 1e-12, ratel::concat_text("sequence ", b, " on ", device));
    }
  }
}

HeadPatterns top(int64_t block, int64_t blocks, BlockScore score) {
  return {{.dilation = block, .top_blocks = blocks, .score = score}};
}

// One token at a time, all at once, and pieces that end one short of a block, at its end, one past it, and past a tile
// of 64 queries; on a GPU, up to 4 tokens one after the other and more by the scan. In f64, where scores of blocks
// differ by far more than they round.
BOOST_AUTO_TEST_CASE(top_blocks_equal_recurrent_attention_in_any_pieces) {
  const std::vector<std::vector<int64_t>> all_sizes{{1}, {1000}, {7, 1, 9, 8}, {3, 66, 1, 1, 30}};
  for (const Recurrence r : {Recurrence::gated, Recurrence::none})
    for (const BlockScore score : kScores)
      for (const HeadPatterns& p :
           {top(8, 3, score), top(8, 2, score), top(5, 6, score), top(1, 9, score), top(300, 2, score)}) {
        const Tensor x = projection_of(2, 110, 12, r);
        const Tensor expected = recurrent_attention(x, 2, p, r);
        for (const ratel::Device device : test::devices())
          for (const auto& sizes : all_sizes) {
            if (test::is_imitated(device) && sizes[0] != (r == Recurrence::gated ? 3 : 7))
              continue;  // both hit all paths
            if (test::is_imitated(device) && p[0].top_blocks == 2 && score != BlockScore::mean) continue;  // no choice
            test::check_close(fed_in(pieces_of(2, 110, sizes), x, 2, p, r, device), expected, 1e-12,
                              ratel::concat_text(p[0], " in pieces of ", sizes[0], ", ... on ", device));
          }
      }
}

BOOST_AUTO_TEST_CASE(sequences_of_top_blocks_may_differ_in_length) {
  const HeadPatterns hybrid{
      top(4, 3, BlockScore::mean)[0], {-1, 9, 0}, top(6, 3, BlockScore::minmax)[0], top(4, 4, BlockScore::last)[0]};
  const std::vector<Piece> pieces{{5, 0, 40}, {1, 1, 1}, {0, 17, 3}, {1, 0, 1}, {33, 1, 0}, {1, 1, 1}};
  const int64_t lengths[] = {41, 20, 46};
  const Tensor x = projection_of(3, 50, 16, Recurrence::gated, 3);
  const Tensor expected = recurrent_attention(x, 4, hybrid);
  for (const ratel::Device device : test::devices()) {
    const Tensor out = fed_in(pieces, x, 4, hybrid, Recurrence::gated, device);
    for (int64_t b = 0; b < 3; ++b) {
      const auto of = [&](const Tensor& y) { return slice(slice(y, 0, b, b + 1), 1, 0, lengths[b]); };
      test::check_close(of(out), of(expected), 1e-12, ratel::concat_text("sequence ", b, " on ", device));
    }
  }
}

// Of the GPU's kernels: rows of whole 16 bytes, more than four channels a lane, more heads of top-k blocks than a
// launch takes, with dilated ones between them, more queries than have a block each.
BOOST_AUTO_TEST_CASE(widths_of_top_blocks) {
  struct Case {
    const char* path;
    int64_t T, heads, d;
    HeadPatterns patterns;
    std::vector<int64_t> sizes;
  };
  HeadPatterns alternating;
  for (int h = 0; h < 70; ++h) alternating.push_back(h % 2 == 0 ? top(2, 3, kScores[h / 2 % 3])[0] : Pattern{3, 2, 1});
  std::vector<Case> cases{{"more heads than a launch", 12, 70, 2, alternating, {1, 7}},
                          {"a warp a query", 100, 4, 16, top(8, 3, BlockScore::mean), {100}},
                          {"a warp some queries", 260, 32, 2, top(8, 3, BlockScore::mean), {260}}};
  for (const BlockScore score : kScores) {
    cases.push_back({"rows of 16 bytes", 40, 2, 16, top(4, 4, score), {1, 30, 4}});
    cases.push_back({"the wide ones", 14, 1, 264, top(2, 3, score), {1, 6, 2}});
  }
  for (const Case& c : cases) {
    const Tensor x = projection_of(1, c.T, c.heads * c.d, Recurrence::gated);
    const Tensor expected = recurrent_attention(x, c.heads, c.patterns);
    for (const ratel::Device device : test::devices())
      test::check_close(fed_in(pieces_of(1, c.T, c.sizes), x, c.heads, c.patterns, Recurrence::gated, device), expected,
                        1e-12, ratel::concat_text(c.path, " of ", c.patterns[0], " on ", device));
  }
}

// A sequence that begins anew finds the summaries of the one before.
BOOST_AUTO_TEST_CASE(summaries_begin_anew_with_their_block) {
  const ratel::NoGrad no_grad;
  for (const ratel::Device device : test::devices())
    for (const BlockScore score : kScores) {
      const HeadPatterns p = top(4, 3, score);
      AttentionCache cache(1, 40, 8, 2, p, Recurrence::none, DType::f64, device);
      for (const uint64_t seed : {1, 2}) {
        const Tensor x = projection_of(1, 30, 8, Recurrence::none, seed);
        test::check_close(
            to(cached_attention(to(x, device), cache, {positions({0}, device), positions({30}, device)}), ratel::kCpu),
            recurrent_attention(x, 2, p, Recurrence::none), 1e-12, ratel::concat_text("in a used cache on ", device));
      }
    }
}

// In tiles of queries, on a GPU: a sequence's numbers do not depend on those beside it, whose lengths and counts
// differ, and rows without a token are zeros.
BOOST_AUTO_TEST_CASE(tiles_of_top_blocks_keep_to_their_sequence) {
  const HeadPatterns mixed{
      top(4, 5, BlockScore::mean)[0], {3, 9, 1}, top(6, 3, BlockScore::minmax)[0], top(40, 3, BlockScore::last)[0]};
  const std::vector<Piece> pieces{{20, 0, 52}, {66, 17, 18}, {0, 40, 16}};
  const Tensor x = to(projection_of(3, 90, int64_t{4} * 64, Recurrence::gated, 3), DType::bf16);
  for (const ratel::Device device : test::devices()) {
    const Tensor together = fed_in(pieces, x, 4, mixed, Recurrence::gated, device);
    for (int64_t b = 0; b < 3; ++b) {
      std::vector<Piece> alone;
      for (const Piece& counts : pieces)
        if (counts[static_cast<size_t>(b)] > 0) alone.push_back({counts[static_cast<size_t>(b)]});
      const auto of = [&](const Tensor& y) { return contiguous(slice(y, 0, b, b + 1)); };
      test::check_identical(of(together), fed_in(alone, of(x), 4, mixed, Recurrence::gated, device, 100),
                            ratel::concat_text("sequence ", b, " on ", device));
    }
  }
}

// All blocks are seen: which rounds nothing but what dense attention rounds. Heads of 64 channels attend in tiles of
// queries, on a GPU.
void check_all_blocks(DType dtype, int64_t d, int64_t piece, BlockScore score, ratel::Device device) {
  const ratel::NoGrad no_grad;
  test::RoundingErrors errors;
  for (const uint64_t draw : {1, 2, 3}) {
    const Tensor x = to(projection_of(1, 80, 2 * d, Recurrence::gated, draw), dtype);
    errors.add(fed_in(pieces_of(1, 80, {piece}), x, 2, top(8, 10, score), Recurrence::gated, device),
               recurrent_attention_reference(x, 2, {{}}), recurrent_attention_reference(to(x, DType::f64), 2, {{}}));
  }
  errors.check(ratel::concat_text("all blocks, ", dtype, " of ", d, " in pieces of ", piece, " on ", device));
}

BOOST_AUTO_TEST_CASE(top_blocks_in_low_precision) {
  for (const ratel::Device device : test::devices())
    for (const BlockScore score : kScores) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        if (!test::is_imitated(device) || score == BlockScore::mean) check_all_blocks(dtype, 16, 1, score, device);
        check_all_blocks(dtype, 16, 37, score, device);
      }
      check_all_blocks(DType::bf16, 64, 37, score, device);
    }
}

// A choice of blocks by pieces of one token and of many: the cache chooses by the keys that it holds, so that both
// choose alike, near ties but for.
BOOST_AUTO_TEST_CASE(top_blocks_are_chosen_alike_in_any_pieces) {
  const ratel::NoGrad no_grad;
  for (const ratel::Device device : test::devices())
    for (const int64_t d : {16, 64})
      for (const BlockScore score : kScores) {
        const Tensor x = to(projection_of(1, 80, 2 * d, Recurrence::gated), DType::bf16);
        const auto in_pieces = [&](int64_t piece) {
          return to(fed_in(pieces_of(1, 80, {piece}), x, 2, top(8, 4, score), Recurrence::gated, device), DType::f64);
        };
        const Tensor one_by_one = in_pieces(1);
        for (const int64_t piece : {37, 80})
          test::check_close(one_by_one, in_pieces(piece), 0.01,
                            ratel::concat_text("one by one and by ", piece, " on ", device));
      }
}

BOOST_AUTO_TEST_CASE(low_precision_errs_at_most_twice_as_much_as_the_composed_version) {
  const HeadPatterns patterns{{1, 0, 0}, {4, 5, 3}};
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t piece : {1, 37})
      for (const ratel::Device device : test::devices()) {
        test::RoundingErrors errors;
        for (const uint64_t draw : {1, 2, 3}) {
          const Tensor x = to(projection_of(2, 80, 32, Recurrence::gated, draw), dtype);
          const ratel::NoGrad no_grad;
          errors.add(fed_in(pieces_of(2, 80, {piece}), x, 2, patterns, Recurrence::gated, device),
                     recurrent_attention_reference(x, 2, patterns),
                     recurrent_attention_reference(to(x, DType::f64), 2, patterns));
        }
        errors.check(ratel::concat_text(dtype, " in pieces of ", piece, " on ", device));
      }
}

// Of the GPU's kernels: keys shared by several blocks (a capacity of many slots, with shares that hold none yet), rows
// of whole 16 bytes, of several for each lane, the tensor cores' widths, more heads than a launch takes.
struct Sized {
  const char* path;
  int64_t B, T, heads, d, capacity;
  HeadPatterns patterns;
  std::vector<int64_t> sizes;
};
const Sized kSized[] = {
    {"four splits, empty at first", 1, 40, 2, 4, 1200, {{1, 0, 0}, {16, 30, 2}}, {1, 30, 1, 1}},
    {"rows of 16 bytes", 2, 40, 2, 16, 40, {{1, 0, 0}, {4, 5, 3}}, {1, 30, 1, 1}},
    {"several of 16 bytes a lane", 1, 12, 1, 264, 12, {{3, 2, 0}}, {1, 6, 1, 1}},
    {"the width of tensor cores", 1, 150, 2, 64, 150, {{16, 20, 3}, {1, 0, 0}}, {70, 1, 75, 1}},
    {"the wide one", 1, 150, 2, 128, 150, {{4, 0, 5}, {-1, 30, 0}}, {70, 75, 1, 1}},
    {"more heads than a launch", 1, 12, 33, 2, 12, {{2, 3, 1}}, {1, 7, 1, 1}},
};

Tensor fed(const Sized& c, const Tensor& x, ratel::Device device) {
  return fed_in(pieces_of(c.B, c.T, c.sizes), x, c.heads, c.patterns, Recurrence::gated, device, c.capacity);
}
void check_rounding(const Sized& c, DType dtype, ratel::Device device) {
  const ratel::NoGrad no_grad;
  test::RoundingErrors errors;
  for (const uint64_t draw : {1, 2}) {
    const Tensor x = to(projection_of(c.B, c.T, c.heads * c.d, Recurrence::gated, draw), dtype);
    errors.add(fed(c, x, device), recurrent_attention_reference(x, c.heads, c.patterns),
               recurrent_attention_reference(to(x, DType::f64), c.heads, c.patterns));
  }
  errors.check(ratel::concat_text(c.path, " in ", dtype, " on ", device));
}

BOOST_AUTO_TEST_CASE(widths_and_capacities) {
  for (const Sized& c : kSized)
    for (const ratel::Device device : test::devices()) {
      const Tensor x = projection_of(c.B, c.T, c.heads * c.d, Recurrence::gated);
      test::check_close(fed(c, x, device), recurrent_attention(x, c.heads, c.patterns), 1e-12,
                        ratel::concat_text(c.path, " on ", device));
      for (const DType dtype : {DType::f32, DType::bf16}) check_rounding(c, dtype, device);
    }
}

BOOST_AUTO_TEST_CASE(widths_for_products_of_warps) {  // where the others are not made of them
  test::with_attention_products(ratel::cuda::AttentionProducts::of_warp, [] {
    test::on_gpus([](ratel::Device device) {
      for (const Sized& c : kSized)
        if (c.d == 64 || c.d == 128) check_rounding(c, DType::bf16, device);
    });
  });
}

/// A cache of B sequences, every slot and state of which holds something.
AttentionCache filled_cache(int64_t B, int64_t capacity, int64_t heads, int64_t d, const HeadPatterns& patterns) {
  AttentionCache cache(B, capacity, heads * d, heads, patterns, Recurrence::gated, DType::bf16);
  uint64_t seed = 7;
  for (const Tensor& tensor : cache.tensors())
    copy_into(tensor, to(test::randn(tensor.shape(), ++seed), tensor.dtype()));
  return cache;
}

/// Sequences [first, first + count) of it, in a dtype and on a device.
AttentionCache part_of(const AttentionCache& cache, int64_t first, int64_t count, DType dtype, ratel::Device device) {
  AttentionCache part(count, cache.capacity, cache.state.dim(2), cache.heads(), cache.patterns, cache.recurrence, dtype,
                      device);
  const std::vector<Tensor> from = cache.tensors(), into = part.tensors();
  for (size_t i = 0; i < from.size(); ++i)
    copy_into(into[i], to(to(slice(from[i], 0, first, first + count), into[i].dtype()), device));
  return part;
}

// More heads than lie on a GPU by the blocks of few. One sequence has no key yet, and one no new token.
BOOST_AUTO_TEST_CASE(many_heads_err_at_most_twice_as_much_as_few) {
  const ratel::NoGrad no_grad;
  const int64_t B = 65, heads = 8, d = 64, capacity = 200, few = 13;
  const HeadPatterns patterns{{1, 0, 0}, {4, 5, 3},  {16, 0, 0}, {-1, 90, 0},
                              {2, 3, 1}, {64, 0, 0}, {1, 0, 0},  {3, 0, 9}};
  std::vector<int64_t> lengths(static_cast<size_t>(B)), counts(static_cast<size_t>(B), 1);
  for (size_t b = 0; b < lengths.size(); ++b) lengths[b] = static_cast<int64_t>(b * b % 199);
  counts[5] = 0;
  const AttentionCache cache = filled_cache(B, capacity, heads, d, patterns);
  const Tensor x = to(projection_of(B, 1, heads * d, Recurrence::gated), DType::bf16);
  struct Step {
    Tensor out;
    std::vector<Tensor> cache;
  };
  const auto step = [&](int64_t first, int64_t count, DType dtype, ratel::Device device) {
    AttentionCache part = part_of(cache, first, count, dtype, device);
    const auto of = [&](const std::vector<int64_t>& all) {
      return positions({all.begin() + first, all.begin() + first + count}, device);
    };
    const Tensor rows = to(to(slice(x, 0, first, first + count), dtype), device);
    Step result{to(cached_attention(rows, part, {of(lengths), of(counts)}), ratel::kCpu), {}};
    for (const Tensor& tensor : part.tensors()) result.cache.push_back(to(tensor, ratel::kCpu));
    return result;
  };
  test::on_gpus([&](ratel::Device device) {
    const auto launches = [] { return test::twin_launches()["decode_attention_many"]; };
    const int64_t before = launches();
    const Step many = step(0, B, DType::bf16, device);
    if (test::is_imitated(device)) BOOST_TEST(launches() == before + 1);
    std::vector<Tensor> outs;
    for (int64_t b = 0; b < B; b += few) {
      const Step part = step(b, few, DType::bf16, device);
      outs.push_back(part.out);
      for (size_t i = 0; i < part.cache.size(); ++i)
        test::check_identical(slice(many.cache[i], 0, b, b + few), part.cache[i], "what the cache took up");
    }
    test::RoundingErrors errors;
    errors.add(many.out, ratel::concat(outs, 0), step(0, B, DType::f64, ratel::kCpu).out);
    errors.check(ratel::concat_text("65 sequences of 8 heads on ", device));
  });
}

BOOST_AUTO_TEST_CASE(bits_do_not_depend_on_threads) {
  const Tensor x = to(projection_of(2, 150, 32, Recurrence::gated), DType::f32);
  for (const int64_t piece : {1, 75})
    test::check_thread_independent(
        [&] {
          return fed_in(pieces_of(2, 150, {piece}), x, 4, {{16, 8, 2}}, Recurrence::gated);
        },
        "pieces");
  for (const BlockScore score : kScores)
    test::check_thread_independent(
        [&] { return fed_in(pieces_of(2, 150, {75}), x, 4, top(16, 4, score), Recurrence::gated); }, "blocks");
}

BOOST_AUTO_TEST_CASE(a_cache_has_the_bytes_of_its_slots) {
  const HeadPatterns patterns{{16, 0, 0}, {-1, 10, 2}};
  const AttentionCache cache(3, 100, 8, 2, patterns, Recurrence::gated, DType::bf16);
  BOOST_TEST(cache.keys.shape() == (Shape{3, 6 + 12, 4}));
  BOOST_TEST(cache.bytes() == 3 * (2 * 18 * 4 * 2 + 2 * 8 * 4));
  const AttentionCache ungated(3, 100, 8, 2, patterns, Recurrence::none, DType::f32);
  BOOST_TEST(ungated.bytes() == 3 * 2 * 18 * 4 * 4);
}

BOOST_AUTO_TEST_CASE(errors) {
  AttentionCache cache(1, 4, 4, 2, {{2, 0, 0}}, Recurrence::gated, DType::f64);
  const auto call = [&](const Tensor& x, const std::vector<int64_t>& lengths, const std::vector<int64_t>& counts) {
    return [&cache, x, lengths, counts] {
      cached_attention(x, cache, {positions(lengths, ratel::kCpu), positions(counts, ratel::kCpu)});
    };
  };
  const Tensor x = test::randn({1, 2, 20}, 1);
  test::check_error(call(x, {3}, {2}), "sequence 0 of 3 tokens cannot take 2 more; the capacity is 4");
  test::check_error(call(x, {0}, {3}), "expected 0 to 2 new tokens of sequence 0, found 3");
  test::check_error(call(x, {0, 0}, {1, 1}), "expected lengths and counts (1)");
  test::check_error(call(test::randn({1, 2, 16}, 1), {0}, {2}), "expected a projection (1, n, 20)");
  test::check_error(call(to(x, DType::f32), {0}, {2}), "expected the cache's dtype f64, found f32");
  test::check_error(call(transpose(test::randn({1, 20, 2}, 1), 1, 2), {0}, {2}), "must be contiguous");
  test::check_error(call(requires_grad(clone(x)), {0}, {2}), "wants a gradient");
  test::check_error([] { AttentionCache(0, 4, 4, 2, {{}}, Recurrence::gated, DType::f32); }, "found 0 and 4");
  test::check_error([] { AttentionCache(1, 4, 6, 2, {{}}, Recurrence::gated, DType::f32); }, "2 heads do not divide 6");
  test::check_error([] { AttentionCache(1, 4, 4, 2, {{}}, Recurrence::gated, DType::i64); }, "expected a float dtype");
}
