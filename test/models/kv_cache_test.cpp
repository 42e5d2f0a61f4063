#include "models/kv_cache.h"

#include <algorithm>
#include <set>

#include "autograd/grad_mode.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/view.h"
#include "test/models/golden_model.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/reference_model.h"

using ratel::Device;
using ratel::DType;
using ratel::KvCache;
using ratel::ModelPattern;
using ratel::Pattern;
using ratel::RatPlus;
using ratel::RatPlusConfig;
using ratel::Tensor;
using ratel::nn::ParamStore;
using ratel::nn::Scope;
namespace test = ratel::test;

namespace {

constexpr int64_t kTokens = 216;

/// A golden model on a device, and texts for it to read.
struct Model {
  Model(const test::GoldenModel& golden, DType dtype, Device device)
      : store(dtype, 0, ratel::nn::Start::init, device), model(Scope(store), golden.config) {
    store.load(golden.tensors(""), golden.name);
  }
  ParamStore store;
  RatPlus model;
};

std::vector<std::vector<int64_t>> texts_of(int64_t batch, int64_t vocab_size, uint64_t seed = 5) {
  ratel::Rng rng(seed);
  std::vector<std::vector<int64_t>> texts;
  for (int64_t b = 0; b < batch; ++b)
    texts.push_back(ratel::to_vector<int64_t>(ratel::random_integers({kTokens}, rng, vocab_size)));
  return texts;
}

Tensor tokens_of(const std::vector<std::vector<int64_t>>& texts, Device device = ratel::kCpu) {
  std::vector<int64_t> all;
  for (const auto& text : texts) all.insert(all.end(), text.begin(), text.end());
  const auto B = static_cast<int64_t>(texts.size());
  return from_vector(all, {B, static_cast<int64_t>(all.size()) / B}, DType::i64, device);
}

/// 1, D - 1, D, D + 1, W, W + S of every layer, and 200.
std::set<int64_t> prompt_lengths(const test::GoldenModel& golden) {
  std::set<int64_t> lengths{1, 200};
  for (const auto& heads : golden.pattern.layers)
    for (const Pattern& p : heads)
      for (const int64_t length : {p.dilation - 1, p.dilation, p.dilation + 1, p.window, p.window + p.initial})
        if (length >= 1 && length <= 200) lengths.insert(length);
  return lengths;
}

/// The logits (B, V) after the last token of every prompt and after each of `more` tokens that follow: (B, 1 + more,
/// V).
Tensor decoded(const Model& m, const ModelPattern& pattern, const std::vector<std::vector<int64_t>>& texts,
               const std::vector<int64_t>& lengths, int64_t more, int64_t chunk, Device device) {
  const auto B = static_cast<int64_t>(texts.size());
  KvCache cache(m.model, pattern, B, kTokens);
  std::vector<std::vector<int64_t>> prompts;
  for (size_t b = 0; b < texts.size(); ++b) prompts.emplace_back(texts[b].begin(), texts[b].begin() + lengths[b]);
  const Tensor first = to(prefill(m.model, cache, prompts, chunk), ratel::kCpu);
  Tensor all = ratel::empty({B, 1 + more, first.dim(1)}, first.dtype());
  copy_into(slice(all, 1, 0, 1), reshape(first, {B, 1, -1}));
  for (int64_t step = 0; step < more; ++step) {
    std::vector<int64_t> next;
    for (size_t b = 0; b < texts.size(); ++b) next.push_back(texts[b][static_cast<size_t>(lengths[b] + step)]);
    const Tensor logits = next_logits(m.model, cache, from_vector(next, {B, 1}, DType::i64, device));
    copy_into(slice(all, 1, step + 1, step + 2), reshape(to(logits, ratel::kCpu), {B, 1, -1}));
  }
  for (size_t b = 0; b < texts.size(); ++b) BOOST_TEST(cache.lengths()[b] == lengths[b] + more);
  return all;
}

/// The same positions of the logits (B, T, V) of a forward over all tokens.
Tensor positions_of(const Tensor& full, const std::vector<int64_t>& lengths, int64_t more) {
  const int64_t B = full.dim(0);
  Tensor all = ratel::empty({B, 1 + more, full.dim(2)}, full.dtype());
  for (int64_t b = 0; b < B; ++b) {
    const int64_t last = lengths[static_cast<size_t>(b)] - 1;
    copy_into(slice(all, 0, b, b + 1), slice(slice(full, 0, b, b + 1), 1, last, last + 1 + more));
  }
  return all;
}

RatPlusConfig small_config() { return {23, 2, 16, 2}; }

}  // namespace

// Every pattern of the goldens, every prompt length at an edge of it, one sequence and three of unequal lengths.
BOOST_AUTO_TEST_CASE(decoding_equals_the_full_forward_at_every_position) {
  for (int number = 0; number < test::kGoldenModels; ++number) {
    const test::GoldenModel golden(number);
    const auto texts = texts_of(3, golden.config.vocab_size);
    for (const Device device : test::devices()) {
      const Model m(golden, DType::f64, device);
      const ratel::NoGrad no_grad;
      const Tensor full = to(m.model(tokens_of(texts, device), golden.pattern), ratel::kCpu);
      for (const int64_t length : prompt_lengths(golden)) {
        const bool imitated = test::is_imitated(device);
        if (imitated && length > 20) {
          test::note_skipped("a long prompt on the twin, which takes seconds for each");
          continue;
        }
        const int64_t more = imitated ? 2 : 16;
        const std::vector<int64_t> lengths{length, (length + 1) / 2, std::min<int64_t>(200, length + 7)};
        const std::string what = ratel::concat_text(golden.name, ", prompt of ", length, " on ", device);
        test::check_close(decoded(m, golden.pattern, texts, lengths, more, 64, device),
                          positions_of(full, lengths, more), 1e-12, what + ", batch 3");
        test::check_close(decoded(m, golden.pattern, {texts[0]}, {length}, more, 1000, device),
                          positions_of(slice(full, 0, 0, 1), {length}, more), 1e-12, what);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(low_precision_errs_at_most_twice_as_much_as_the_composed_model) {
  for (const Device device : test::devices()) {
    test::RoundingErrors errors;
    for (int number = 0; number < test::kGoldenModels; ++number) {
      const test::GoldenModel golden(number);
      const Model m(golden, DType::f32, device), exact(golden, DType::f64, ratel::kCpu);
      const int64_t more = test::is_imitated(device) ? 3 : 60;
      const std::vector<int64_t> lengths{17, 5, 40};
      const auto texts = texts_of(3, golden.config.vocab_size, 9);
      const ratel::NoGrad no_grad;
      test::Weights weights;
      for (const auto& [path, tensor] : golden.tensors("")) weights[path] = to(tensor, DType::f32);
      std::vector<ratel::HeadPatterns> layers;
      for (int64_t layer = 0; layer < golden.config.layers; ++layer)
        layers.push_back(golden.pattern.of_layer(layer, golden.config.layers));
      const Tensor plain =
          test::reference_logits(tokens_of(texts), weights, golden.config.heads, layers, golden.config.recurrence);
      errors.add(decoded(m, golden.pattern, texts, lengths, more, 16, device), positions_of(plain, lengths, more),
                 positions_of(exact.model(tokens_of(texts), golden.pattern), lengths, more));
    }
    errors.check(ratel::concat_text("f32 on ", device));
  }
}

BOOST_AUTO_TEST_CASE(chunks_of_a_prompt_change_nothing) {
  ParamStore store(DType::f64, 1);
  const RatPlus model(Scope(store), small_config());
  const auto texts = texts_of(2, 23);
  for (const ModelPattern& pattern :
       {ModelPattern{}, ModelPattern::uniform({16, 20, 3}), ModelPattern{{{{-1, 9, 2}}, {{4, 0, 0}, {1, 0, 0}}}}}) {
    KvCache whole(model, pattern, 2, kTokens);
    const Tensor expected = prefill(model, whole, texts, kTokens);
    for (const int64_t chunk : {1, 15, 64, 100}) {
      KvCache cache(model, pattern, 2, kTokens);
      test::check_close(prefill(model, cache, texts, chunk), expected, 1e-12,
                        ratel::concat_text(pattern, ", chunks of ", chunk));
    }
  }
}

// A key is kept once, in the slot that its pattern gives it: the sum of all is what the formula says.
BOOST_AUTO_TEST_CASE(bytes_are_those_of_the_formula) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    ParamStore store(dtype, 1);
    const RatPlus model(Scope(store), small_config());
    for (const ModelPattern& pattern :
         {ModelPattern{}, ModelPattern::uniform({16, 20, 3}), ModelPattern{{{{-1, 9, 2}}, {{4, 0, 0}, {1, 0, 0}}}}}) {
      const KvCache cache(model, pattern, 3, 100);
      BOOST_TEST(cache.bytes() == 3 * kv_cache_bytes(model.config, pattern, 100, dtype));
      BOOST_TEST(cache.dense_bytes() == 3 * kv_cache_bytes(model.config, {}, 100, dtype));
    }
  }
}

BOOST_AUTO_TEST_CASE(forks_go_their_own_ways) {
  ParamStore store(DType::f64, 1);
  const RatPlus model(Scope(store), small_config());
  const ModelPattern pattern = ModelPattern::uniform({4, 3, 1});
  const auto texts = texts_of(3, 23);
  KvCache prompt(model, pattern, 2, 64);
  const std::vector<int64_t> first(texts[0].begin(), texts[0].begin() + 20),
      second(texts[1].begin(), texts[1].begin() + 9);
  prefill(model, prompt, {first, second});
  const std::vector<int64_t> chosen{1, 0, 1};
  KvCache forked = prompt.fork(chosen);
  BOOST_TEST(forked.batch() == 3);
  BOOST_TEST(forked.lengths()[0] == 9);
  BOOST_TEST(forked.lengths()[1] == 20);
  BOOST_TEST(forked.dense_bytes() == 3 * prompt.dense_bytes() / 2);
  const Tensor next = from_vector(std::vector<int64_t>{3, 4, 5}, {3, 1}, DType::i64);
  const Tensor logits = next_logits(model, forked, next);
  for (int64_t b = 0; b < 3; ++b) {
    std::vector<int64_t> text = b == 1 ? first : second;
    text.push_back(3 + b);
    KvCache alone(model, pattern, 1, 64);
    test::check_close(slice(logits, 0, b, b + 1), prefill(model, alone, {text}), 1e-12, "a fork");
  }
  // The one it came from goes on as well, and as if there were no other.
  const Tensor own = from_vector(std::vector<int64_t>{4, 3}, {2, 1}, DType::i64);
  const Tensor of_prompt = next_logits(model, prompt, own);
  test::check_close(slice(of_prompt, 0, 0, 1), slice(logits, 0, 1, 2), 1e-12, "the first prompt");
  test::check_close(slice(of_prompt, 0, 1, 2), slice(logits, 0, 0, 1), 1e-12, "the second prompt");
}

// A fork copies the rows that are filled: with a ring that has come round or not, blocks that are half full, heads that
// differ, and a text of which there is nothing yet.
BOOST_AUTO_TEST_CASE(a_fork_has_all_that_its_texts_go_on_to_see) {
  ParamStore store(DType::f64, 1);
  const RatPlus model(Scope(store), small_config());
  constexpr int64_t kCapacity = 64;
  const Pattern mean{8, 0, 0, 3, ratel::BlockScore::mean}, minmax{5, 0, 0, 3, ratel::BlockScore::minmax};
  for (const ModelPattern& pattern :
       {ModelPattern{}, ModelPattern::uniform({4, 9, 3}), ModelPattern::uniform({-1, 7, 2}),
        ModelPattern::uniform({4, 0, 0, 3}), ModelPattern{{{{1, 0, 0}, {6, 20, 0}}, {mean, minmax}}},
        ModelPattern{{{{3, 0, 50}, mean}, {minmax, {-1, 50, 0}}}}})
    for (const int64_t length : {1, 8, 13, 47}) {
      const auto texts = texts_of(2, 23);
      const auto prompt = [&](size_t b) {
        return std::vector<int64_t>(texts[b].begin(), texts[b].begin() + (b == 0 ? length : 5));
      };
      KvCache cache(model, pattern, 3, kCapacity);
      prefill(model, cache, {prompt(0), prompt(1), prompt(1)}, 6);
      cache.reset(2);
      const std::vector<int64_t> chosen{1, 0, 2, 0};
      KvCache forked = cache.fork(chosen);
      for (int64_t t = 0; t < 16; ++t) {
        const std::vector<int64_t> next{3 + t, 22 - t, t, 22 - t};
        const Tensor logits = next_logits(model, forked, from_vector(next, {4, 1}, DType::i64));
        const Tensor own =
            next_logits(model, cache, from_vector(std::vector{next[1], next[0], next[2]}, {3, 1}, DType::i64));
        for (int64_t b = 0; b < 4; ++b) {
          const int64_t from = chosen[static_cast<size_t>(b)];
          test::check_close(slice(logits, 0, b, b + 1), slice(own, 0, from, from + 1), 1e-12,
                            ratel::concat_text(pattern, ", ", length, " tokens, sequence ", b, ", step ", t));
        }
      }
    }
}

BOOST_AUTO_TEST_CASE(a_sequence_that_was_reset_begins_anew) {
  ParamStore store(DType::f64, 1);
  const RatPlus model(Scope(store), small_config());
  const auto texts = texts_of(2, 23);
  KvCache used(model, ModelPattern::uniform({4, 3, 1}), 2, kTokens), fresh(model, used.pattern(), 2, kTokens);
  prefill(model, used, texts);
  used.reset(1);
  BOOST_TEST(used.lengths()[0] == kTokens);
  BOOST_TEST(used.lengths()[1] == 0);
  // Sequence 1 begins anew beside sequence 0, which is full.
  const std::vector<int64_t> counts{0, 5};
  const Tensor first = extend(model, used, slice(tokens_of(texts), 1, 0, 5), counts);
  const Tensor expected = extend(model, fresh, slice(tokens_of(texts), 1, 0, 5), counts);
  test::check_identical(slice(first, 0, 1, 2), slice(expected, 0, 1, 2), "a sequence that was reset");
  used.reset();
  fresh.reset();
  test::check_identical(prefill(model, used, texts, 50), prefill(model, fresh, texts, 50), "after a reset");
}

// A layer that fails when others before it took up the token: what the cache holds is no text any more.
BOOST_AUTO_TEST_CASE(a_torn_cache_takes_no_more) {
  ParamStore store(DType::f64, 1);
  const RatPlus model(Scope(store), small_config());
  RatPlus broken = model;
  broken.blocks[1].mixer.out_proj.weight = ratel::zeros({3, 3}, DType::f64);
  KvCache cache(model, {}, 1, 8), fresh(model, {}, 1, 8);
  const Tensor token = tokens_of({{1}});
  extend(model, cache, token);
  BOOST_CHECK_THROW(extend(broken, cache, token), ratel::Error);
  const std::vector<int64_t> first{0};
  test::check_error([&] { extend(model, cache, token); }, "an earlier step failed");
  test::check_error([&] { (void)cache.fork(first); }, "an earlier step failed");
  cache.reset();
  test::check_identical(extend(model, cache, token), extend(model, fresh, token), "after a reset");
}

static_assert(!std::is_copy_constructible_v<KvCache>);  // two would write into the same slots

BOOST_AUTO_TEST_CASE(errors) {
  ParamStore store(DType::f32, 1);
  const RatPlus model(Scope(store), small_config());
  KvCache cache(model, {}, 2, 8);
  test::check_error([&] { prefill(model, cache, {{1, 2}, {}}); }, "prompt 1 is empty");
  test::check_error([&] { prefill(model, cache, {{1, 2}}); }, "expected 2 prompts, found 1");
  test::check_error([&] { prefill(model, cache, {{1}, {1}}, 0); }, "chunks of at least 1");
  test::check_error([&] { extend(model, cache, tokens_of({{1, 2, 3}})); }, "expected tokens (2, n)");
  prefill(model, cache, {{1, 2, 3}, {1, 2, 3, 4, 5, 6, 7}});
  test::check_error(
      [&] {
        extend(model, cache, tokens_of({{1, 2}, {1, 2}}));
      },
      "sequence 1 is full: it has 7 tokens and cannot take 2 more; the capacity is 8");
  BOOST_TEST(cache.lengths()[0] == 3);  // as it was
  test::check_error([&] { extend(model, cache, tokens_of({{1}, {23}})); }, "id 23");
  BOOST_TEST(cache.lengths()[0] == 3);
  test::check_error([&] { extend(model, cache, ratel::ones({2, 1})); }, "expected tokens of an integer dtype");
  test::check_error(
      [&] {
        KvCache(model, ModelPattern::uniform({-1, 0, 0}), int64_t{1} << 20, int64_t{1} << 40);
      },
      "have too many bytes to count");
  const std::vector<int64_t> counts{1, 3};
  test::check_error([&] { extend(model, cache, tokens_of({{1, 2}, {1, 2}}), counts); }, "expected 0 to 2 new tokens");
  const std::vector<int64_t> absent{2}, one{1};
  test::check_error([&] { extend(model, cache, tokens_of({{1}, {1}}), one); }, "expected a count for each of 2");
  test::check_error([&] { (void)cache.fork({}); }, "at least one sequence");
  test::check_error([&] { cache.reset(2); }, "sequence 2 of 2 does not exist");
  // What does not fit is found before the first chunk is fed.
  test::check_error(
      [&] {
        prefill(model, cache, {{1, 2, 3, 4, 5, 6}, {1}}, 2);
      },
      "sequence 0 of 3 tokens cannot take a prompt of 6; the capacity is 8");
  test::check_error([&] { prefill(model, cache, {{1, 2, 3, 23}, {1}}, 2); }, "prompt 0 has the token 23");
  BOOST_TEST(cache.lengths()[0] == 3);
  ParamStore other_store(DType::f32, 1);
  const RatPlus other(Scope(other_store), {23, 2, 16, 4});
  test::check_error([&] { extend(other, cache, tokens_of({{1}, {1}})); }, "a model of another shape");
  test::check_error([&] { (void)cache.fork(absent); }, "sequence 2 of 2 does not exist");
  test::check_error([&] { KvCache(model, {}, 0, 8); }, "found 0 and 8");
  test::check_error([&] { KvCache(model, {{{{}}, {{}}, {{}}}}, 1, 8); }, "expected patterns for 1 or 2 layers");
}
