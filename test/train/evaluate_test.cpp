#include "train/evaluate.h"

#include <cmath>

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "nn/param_store.h"
#include "test/train/tiny_run.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::DType;
using ratel::ModelPattern;

namespace {

struct Model {
  ratel::nn::ParamStore store;
  ratel::RatPlus model;
  explicit Model(DType dtype) : store(dtype, 5), model(ratel::nn::Scope(store), test::tiny_config().model) {
    store.load(scaled(), "test");
  }
  /// Larger weights than at the start, so that the pattern shows in the loss.
  [[nodiscard]] std::vector<ratel::NamedTensor> scaled() const {
    std::vector<ratel::NamedTensor> result;
    uint64_t seed = 0;
    for (const auto& [name, p] : store.parameters())
      result.push_back({name, test::randn(p.shape(), ++seed, p.dtype())});
    return result;
  }
};

/// One window at a time, one position at a time, in double.
train::EvalResult by_hand(const ratel::RatPlus& model, const std::vector<int64_t>& tokens, int64_t T,
                          const ModelPattern& pattern, int64_t eos) {
  const ratel::NoGrad no_grad;
  const auto V = static_cast<size_t>(model.config.vocab_size);
  double total = 0;
  int64_t count = 0;
  for (size_t begin = 0; begin + 1 < tokens.size(); begin += static_cast<size_t>(T)) {
    const size_t length = std::min(static_cast<size_t>(T), tokens.size() - 1 - begin);
    const std::vector<int64_t> inputs(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                                      tokens.begin() + static_cast<std::ptrdiff_t>(begin + length));
    const auto logits =
        ratel::to_vector<double>(model(ratel::from_vector(inputs, {1, static_cast<int64_t>(length)}), pattern));
    for (size_t t = 0; t < length; ++t) {
      if (inputs[t] == eos) continue;
      double sum = 0;
      for (size_t v = 0; v < V; ++v) sum += std::exp(logits[t * V + v]);
      total += std::log(sum) - logits[t * V + static_cast<size_t>(tokens[begin + t + 1])];
      ++count;
    }
  }
  const double loss = total / static_cast<double>(count);
  return {loss, std::exp(loss), count, true};
}

}  // namespace

BOOST_AUTO_TEST_CASE(equals_the_mean_over_windows_by_hand) {
  const test::TemporaryFolder folder;
  const Model f64(DType::f64);
  // Sizes: no whole window; exactly one; whole windows; a tail; a tail of one target.
  for (const int64_t size : {2, 8, 9, 33, 30, 34})
    for (const int64_t eos : {int64_t{-1}, test::kTinyEos})
      for (const auto& pattern : {ModelPattern{}, ModelPattern::uniform({4, 1, 1})}) {
        const auto tokens = test::tiny_tokens(size, 2);
        test::write_tokens(folder / "data.bin", tokens);
        const auto file = ratel::io::TokenFile::open(folder / "data.bin", test::kTinyVocab);
        const auto expected = by_hand(f64.model, tokens, 8, pattern, eos);
        for (const int64_t batch_size : {1, 3, 100}) {
          const auto result = train::evaluate(f64.model, file,
                                              {.seq_len = 8, .pattern = pattern, .batch_size = batch_size, .eos = eos});
          BOOST_TEST(result.tokens == expected.tokens);
          BOOST_TEST(result.complete);
          BOOST_TEST(std::abs(result.loss - expected.loss) <= 1e-12 * expected.loss);
          BOOST_TEST(std::abs(result.perplexity - std::exp(result.loss)) <= 1e-12 * result.perplexity);
        }
        if (eos < 0) BOOST_TEST(expected.tokens == size - 1);
      }
}

BOOST_AUTO_TEST_CASE(stops_between_batches_and_reports_progress) {
  const test::TemporaryFolder folder;
  test::write_tokens(folder / "data.bin", test::tiny_tokens(41, 2));
  const auto file = ratel::io::TokenFile::open(folder / "data.bin", test::kTinyVocab);
  const Model m(DType::f32);
  std::vector<int64_t> done;
  int polls = 0;
  const auto result = train::evaluate(m.model, file,
                                      {.seq_len = 8,
                                       .pattern = {},
                                       .batch_size = 1,
                                       .stop = [&] { return ++polls > 2; },
                                       .progress =
                                           [&](int64_t now, int64_t total) {
                                             done.push_back(now);
                                             BOOST_TEST(total == 40);
                                           }});
  BOOST_TEST(!result.complete);
  BOOST_TEST(result.tokens == 16);
  BOOST_TEST(done == (std::vector<int64_t>{8, 16}), boost::test_tools::per_element());
  for (const auto& [name, p] : m.store.parameters()) BOOST_TEST(!ratel::grad(p).defined());
}

BOOST_AUTO_TEST_CASE(misuse_is_named) {
  const test::TemporaryFolder folder;
  test::write_tokens(folder / "data.bin", {1, 2, 3});
  test::write_tokens(folder / "one.bin", {1});
  const auto file = ratel::io::TokenFile::open(folder / "data.bin", test::kTinyVocab);
  const Model m(DType::f32);
  test::check_error([&] { train::evaluate(m.model, file, {.seq_len = 0, .pattern = {}}); },
                    "seq_len of at least 1, found 0");
  test::check_error([&] { train::evaluate(m.model, file, {.pattern = {}, .batch_size = 0}); },
                    "batch_size of at least 1");
  test::check_error([&] { train::evaluate(m.model, file, {.pattern = ModelPattern{{{{}}, {{}}, {{}}}}}); }, "pattern");
  const auto one = ratel::io::TokenFile::open(folder / "one.bin", test::kTinyVocab);
  test::check_error([&] { train::evaluate(m.model, one, {.pattern = {}}); }, "one.bin: expected at least 2 tokens");
}

BOOST_AUTO_TEST_CASE(a_batch_beyond_memory_is_refused) {
  const Model m(DType::f32);
  train::require_memory_for(m.model, 8, 64);
  try {
    train::require_memory_for(m.model, int64_t{1} << 44, 64);
    BOOST_ERROR("no error");
  } catch (const ratel::Error& error) {
    BOOST_TEST((error.kind() == ratel::ErrorKind::memory));
    BOOST_TEST(std::string(error.what()).starts_with("the activations of 17592186044416 x 64 tokens need "),
               error.what());
  }
}

BOOST_AUTO_TEST_CASE(a_file_of_which_no_token_counts_has_no_loss) {
  const test::TemporaryFolder folder;
  std::vector<int64_t> tokens(9000, test::kTinyEos);  // more than one piece that is looked at
  tokens.back() = 1;                                  // what the last token predicts is not in the file
  test::write_tokens(folder / "data.bin", tokens);
  const auto file = ratel::io::TokenFile::open(folder / "data.bin", test::kTinyVocab);
  const Model m(DType::f32);
  test::check_error([&] { train::evaluate(m.model, file, {.pattern = {}, .eos = test::kTinyEos}); },
                    "data.bin: expected tokens to predict from, found nothing but the end-of-text 16");
  const std::vector<int64_t> begins{0, 8990};
  test::check_error([&] { train::check_counts(file, begins, 9, test::kTinyEos); }, "nothing but the end-of-text");
  BOOST_CHECK_NO_THROW(train::check_counts(file, begins, 9, -1));
  BOOST_CHECK_NO_THROW(train::check_counts(file, begins, 10, test::kTinyEos));
}
