#include "train/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/param_store.h"
#include "ops/create.h"
#include "test/train/tiny_run.h"
#include "train/evaluate.h"

namespace test = ratel::test;
namespace train = ratel::train;
using ratel::DType;
using ratel::ModelPattern;
using train::SearchOptions;
using train::SearchResult;

namespace {

/// Large random weights in f64, so that every pattern shows in the loss.
struct Model {
  ratel::nn::ParamStore store{DType::f64, 5};
  ratel::RatPlus model{ratel::nn::Scope(store), test::tiny_config().model};
  /// The attention of the layer `mute` adds nothing.
  explicit Model(int64_t mute = -1) {
    std::vector<ratel::NamedTensor> weights;
    uint64_t seed = 0;
    for (const auto& [name, p] : store.parameters()) {
      const bool is_muted = name == "layers." + std::to_string(mute) + ".mixer.out_proj.weight";
      weights.push_back(
          {name, is_muted ? ratel::zeros(p.shape(), DType::f64) : test::randn(p.shape(), ++seed, DType::f64)});
    }
    store.load(weights, "test");
  }
};

constexpr int64_t kSize = 8 * 11 + 3, kT = 8;  // 11 windows of 8: 5 to search on, 6 to verify with, and a tail

struct Data {
  test::TemporaryFolder folder;
  std::vector<int64_t> tokens = test::tiny_tokens(kSize, 2);
  [[nodiscard]] ratel::io::TokenFile file(int64_t begin = 0, int64_t end = kSize) const {
    const std::string path = folder / (std::to_string(begin) + "-" + std::to_string(end));
    test::write_tokens(path, {tokens.begin() + begin, tokens.begin() + end});
    return ratel::io::TokenFile::open(path, test::kTinyVocab);
  }
  /// The halves, as files of their own.
  [[nodiscard]] ratel::io::TokenFile search_half() const { return file(0, 5 * kT + 1); }
  [[nodiscard]] ratel::io::TokenFile verification_half() const { return file(5 * kT, 11 * kT + 1); }
};

SearchOptions options(train::Grain grain) {
  SearchOptions o;
  o.budget = 0.25;
  o.context = 64;
  o.dilations = {1, 2, 4, 8};
  o.grain = grain;
  o.rounds = 3;
  o.seq_len = kT;
  o.eos = test::kTinyEos;
  return o;
}

double loss(const ratel::RatPlus& model, const ratel::io::TokenFile& file, const ModelPattern& pattern) {
  return train::evaluate(model, file, {.seq_len = kT, .pattern = pattern, .eos = test::kTinyEos}).loss;
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-11 * (1 + std::abs(b)); }

/// The pattern with the dilation of one layer or head replaced.
ModelPattern changed(const ModelPattern& base, const train::Sensitivity& at, int64_t dilation) {
  ModelPattern pattern{{}};
  for (int64_t layer = 0; layer < 2; ++layer) {
    ratel::HeadPatterns heads = ratel::one_a_head(base.of_layer(layer, 2), 2);
    for (int64_t head = 0; head < 2; ++head)
      if (layer == at.layer && (at.head < 0 || head == at.head)) heads[static_cast<size_t>(head)].dilation = dilation;
    pattern.layers.push_back(heads);
  }
  return pattern;
}

/// The least sum of changes over all assignments within the budget.
double least_change(const train::SearchRound& round, const SearchOptions& o, int64_t budget, size_t from = 0) {
  if (budget < 0) return std::numeric_limits<double>::infinity();
  if (from == round.sensitivities.size()) return 0;
  const auto& sensitivity = round.sensitivities[from];
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < o.dilations.size(); ++i)
    least = std::min(
        least,
        sensitivity.change[i] +
            least_change(round, o, budget - (sensitivity.head < 0 ? 2 : 1) * o.context / o.dilations[i], from + 1));
  return least;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_number_is_an_evaluation_and_the_choice_is_the_best_of_all) {
  const Model m;
  const Data data;
  const auto first = data.search_half(), second = data.verification_half();
  for (const auto grain : {train::Grain::layers, train::Grain::heads})
    for (const auto around : {train::Around::budget, train::Around::dense}) {
      SearchOptions o = options(grain);
      o.around = around;
      const SearchResult result = train::search(m.model, data.file(), o);
      BOOST_TEST_REQUIRE(result.complete);
      BOOST_TEST(result.dense_keys == 2 * 2 * 64);
      BOOST_TEST(result.budget_keys == 2 * 2 * 64 / 4);
      BOOST_TEST(result.keys <= result.budget_keys);
      BOOST_TEST(result.keys == train::cache_keys(m.model.config, result.found.pattern, 64));
      BOOST_TEST_REQUIRE(!result.rounds.empty());
      BOOST_TEST((result.rounds[0].base.pattern.layers.at(0)[0].dilation == (around == train::Around::dense ? 1 : 4)));
      for (const auto& round : result.rounds) {
        BOOST_TEST(near(round.base.loss, loss(m.model, first, round.base.pattern)));
        BOOST_TEST(round.sensitivities.size() == (grain == train::Grain::heads ? 4u : 2u));
        for (const auto& sensitivity : round.sensitivities)
          for (size_t i = 0; i < o.dilations.size(); ++i)
            BOOST_TEST(near(round.base.loss + sensitivity.change[i],
                            loss(m.model, first, changed(round.base.pattern, sensitivity, o.dilations[i]))));
        BOOST_TEST(near(round.predicted_loss, round.base.loss + least_change(round, o, result.budget_keys)));
        BOOST_TEST(near(round.chosen.loss, loss(m.model, first, round.chosen.pattern)));
        BOOST_TEST(train::cache_keys(m.model.config, round.chosen.pattern, 64) <= result.budget_keys);
      }
      BOOST_TEST(near(result.found.loss, loss(m.model, second, result.found.pattern)));
      BOOST_TEST(near(result.dense.loss, loss(m.model, second, ModelPattern{})));
      BOOST_TEST_REQUIRE(result.uniform.size() == 2u);  // D = 4 and 8 are within a quarter
      for (size_t i = 0; i < 2; ++i) {
        BOOST_TEST((result.uniform[i].pattern == ModelPattern::uniform({i == 0 ? 4 : 8, 0, 0})));
        BOOST_TEST(near(result.uniform[i].loss, loss(m.model, second, result.uniform[i].pattern)));
        BOOST_TEST(result.uniform[i].kv_bytes ==
                   ratel::kv_cache_bytes(m.model.config, result.uniform[i].pattern, 64, DType::f64));
        BOOST_TEST(result.uniform[result.best_uniform].loss <= result.uniform[i].loss);
      }
      BOOST_TEST(near(result.difference, result.found.loss - result.uniform[result.best_uniform].loss));
      BOOST_TEST((result.best().loss <= std::min(result.found.loss, result.uniform[result.best_uniform].loss) + 1e-11));
    }
}

BOOST_AUTO_TEST_CASE(rounds_never_take_up_what_is_worse_on_the_search_half) {
  const Model m;
  const Data data;
  SearchOptions o = options(train::Grain::heads);
  o.rounds = 10;  // more than there are improvements
  const SearchResult result = train::search(m.model, data.file(), o);
  BOOST_TEST(result.rounds.size() < 10u);
  double best = result.rounds[0].base.loss;
  const ModelPattern* pattern = &result.rounds[0].base.pattern;
  for (const auto& round : result.rounds) {
    BOOST_TEST((round.base.pattern == *pattern));
    if (round.chosen.loss < best) {
      best = round.chosen.loss;
      pattern = &round.chosen.pattern;
    } else {
      BOOST_TEST(&round == &result.rounds.back());
    }
  }
  BOOST_TEST((result.found.pattern == *pattern));
}

BOOST_AUTO_TEST_CASE(a_layer_whose_attention_adds_nothing_gets_the_sparsest_pattern) {
  const Data data;
  for (const int64_t mute : {0, 1})
    for (const auto grain : {train::Grain::layers, train::Grain::heads}) {
      const Model m(mute);
      const SearchResult result = train::search(m.model, data.file(), options(grain));
      const auto& round = result.rounds[0];
      for (const auto& sensitivity : round.sensitivities)
        BOOST_TEST((sensitivity.layer == mute) ==
                   std::ranges::all_of(sensitivity.change, [](double change) { return change == 0; }));
      BOOST_TEST((round.chosen.pattern.of_layer(mute, 2) == ratel::HeadPatterns{{8, 0, 0}}));
    }
}

BOOST_AUTO_TEST_CASE(windows_and_initial_tokens_count_and_none_dilated_is_a_choice) {
  const Model m;
  const Data data;
  SearchOptions o = options(train::Grain::layers);
  o.dilations = {-1, 4, 16};
  o.window = 3;
  o.initial = 1;
  const SearchResult result = train::search(m.model, data.file(), o);
  BOOST_TEST(result.uniform.size() == 2u);  // -1: 4 keys a head, 16: 4 + 3, of 64; D = 4: 16 + 2 is more than a quarter
  for (const auto& layer : result.found.pattern.layers)
    for (const auto& p : layer) BOOST_TEST((p.window == 3 && p.initial == 1));
  BOOST_TEST(result.keys <= 64);
}

BOOST_AUTO_TEST_CASE(the_same_result_twice_and_progress_to_the_end) {
  const Model m;
  const Data data;
  SearchOptions o = options(train::Grain::heads);
  int64_t last = 0, total = 0;
  o.batch_size = 2;
  o.progress = [&](int64_t done, int64_t of) {
    BOOST_TEST(done > last);
    BOOST_TEST(done <= of);
    last = done;
    total = of;
  };
  const SearchResult first = train::search(m.model, data.file(), o);
  BOOST_TEST(last == total);
  last = 0;
  const SearchResult second = train::search(m.model, data.file(), o);
  BOOST_TEST((first.found.pattern == second.found.pattern));
  BOOST_TEST(first.found.loss == second.found.loss);
  BOOST_TEST(first.difference == second.difference);
  BOOST_TEST(first.standard_error == second.standard_error);
}

BOOST_AUTO_TEST_CASE(stops_wherever_it_is_asked_to) {
  const Model m;
  const Data data;
  int polls = 0, most = 0;
  SearchOptions o = options(train::Grain::layers);
  o.stop = [&] {
    ++polls;
    return false;
  };
  BOOST_TEST(train::search(m.model, data.file(), o).complete);
  for (most = 0; most < polls; ++most) {
    int left = most;
    o.stop = [&] { return left-- == 0; };
    BOOST_TEST(!train::search(m.model, data.file(), o).complete);
    BOOST_TEST(left == -1);  // it was not asked again
  }
}

BOOST_AUTO_TEST_CASE(few_tokens_are_spread_over_each_half_and_one_window_tells_no_difference) {
  const Model m;
  const Data data;
  SearchOptions o = options(train::Grain::layers);
  o.tokens = o.verify_tokens = 2 * kT - 1;  // one window
  const SearchResult result = train::search(m.model, data.file(), o);
  const auto middle = data.file(2 * kT, 3 * kT + 1);  // of windows 0 to 4
  BOOST_TEST(near(result.rounds[0].base.loss, loss(m.model, middle, result.rounds[0].base.pattern)));
  const auto third = data.file(8 * kT, 9 * kT + 1);  // of windows 5 to 10
  BOOST_TEST(near(result.dense.loss, loss(m.model, third, ModelPattern{})));
  BOOST_TEST(std::isinf(result.standard_error));
  BOOST_TEST((result.verdict == train::Verdict::tie));
}

BOOST_AUTO_TEST_CASE(a_difference_of_windows_tells_its_error) {
  const Model m;
  const Data data;
  const SearchResult result = train::search(m.model, data.file(), options(train::Grain::layers));
  const auto file = data.verification_half();
  std::vector<double> differences;
  double tokens = 0;
  const ModelPattern& uniform = result.uniform[result.best_uniform].pattern;
  std::vector<double> counts;
  for (int64_t w = 0; w < 6; ++w) {
    const std::vector<int64_t> begin{w * kT};
    const auto of = [&](const ModelPattern& pattern) {
      return train::window_losses(m.model, file, begin, {.seq_len = kT, .pattern = pattern, .eos = test::kTinyEos})[0];
    };
    differences.push_back(of(result.found.pattern).loss - of(uniform).loss);
    counts.push_back(static_cast<double>(of(uniform).tokens));
    tokens += counts.back();
  }
  double mean = 0, squares = 0;
  for (const double one : differences) mean += one / tokens;
  for (size_t w = 0; w < 6; ++w) squares += (differences[w] - mean * counts[w]) * (differences[w] - mean * counts[w]);
  const double error = std::sqrt(squares * 6 / 5) / tokens;
  BOOST_TEST(near(result.standard_error, error));
  const auto verdict = std::abs(mean) <= 2 * error ? train::Verdict::tie
                       : mean < 0                  ? train::Verdict::better
                                                   : train::Verdict::worse;
  BOOST_TEST((result.verdict == verdict));
}

// 1/49 of 196 keys is a little less than 4 in double precision.
BOOST_AUTO_TEST_CASE(a_share_that_is_rounded_means_what_it_says) {
  const Model m;
  const Data data;
  SearchOptions o = options(train::Grain::layers);
  o.context = 49;
  o.dilations = {7, 49};
  o.budget = 1.0 / 49;
  const SearchResult result = train::search(m.model, data.file(), o);
  BOOST_TEST(result.dense_keys == 2 * 2 * 49);
  BOOST_TEST(result.budget_keys == 2 * 2);
  BOOST_TEST(result.keys == 2 * 2);
}

BOOST_AUTO_TEST_CASE(budgets_that_cannot_be_met_and_misuse_are_named) {
  const Model m;
  const Data data;
  const auto file = data.file();
  const auto fails = [&](const std::string& part, auto&& change) {
    SearchOptions o = options(train::Grain::layers);
    change(o);
    test::check_error([&] { train::search(m.model, file, o); }, part);
  };
  fails("D=8 W=0 S=0, keeps 0.125 of the keys of a dense cache of 64 tokens, more than the budget of 0.1",
        [](SearchOptions& o) { o.budget = 0.1; });
  fails("D=8 W=40 S=0, keeps 0.6", [](SearchOptions& o) { o.window = 40; });
  fails("a budget above 0", [](SearchOptions& o) { o.budget = 0; });
  fails("at most 1, found 1.5", [](SearchOptions& o) { o.budget = 1.5; });
  fails("a budget above 0", [](SearchOptions& o) { o.budget = std::nan(""); });
  fails("a dilation to choose from", [](SearchOptions& o) { o.dilations.clear(); });
  fails("found 2 twice", [](SearchOptions& o) { o.dilations = {2, 4, 2}; });
  fails("dilation must be at least 1", [](SearchOptions& o) { o.dilations = {0}; });
  fails("window must not be negative", [](SearchOptions& o) { o.window = -1; });
  fails("a context from 1 to", [](SearchOptions& o) { o.context = 0; });
  fails("a window of 8 at least, found 7", [](SearchOptions& o) { o.tokens = 7; });
  fails("a window of 8 at least, found 0", [](SearchOptions& o) { o.verify_tokens = 0; });
  fails("expected 1 to 1000 rounds", [](SearchOptions& o) { o.rounds = 0; });
  const auto one = data.file(0, 2 * kT);
  test::check_error([&] { train::search(m.model, one, options(train::Grain::layers)); }, "expected two windows of 8");
  for (const bool first : {true, false}) {
    Data silent;
    const auto middle = silent.tokens.begin() + 5 * kT;
    std::fill(first ? silent.tokens.begin() : middle, first ? middle : silent.tokens.end(), test::kTinyEos);
    const auto file = silent.file();
    SearchOptions o = options(train::Grain::layers);
    o.eos = test::kTinyEos;
    test::check_error([&] { train::search(m.model, file, o); }, "nothing but the end-of-text 16");
  }
}

BOOST_AUTO_TEST_CASE(shares_are_fractions_or_numbers) {
  BOOST_TEST(train::parse_share("1/16", "--kv-budget") == 0.0625);
  BOOST_TEST(train::parse_share("0.0625", "--kv-budget") == 0.0625);
  BOOST_TEST(train::parse_share("1", "--kv-budget") == 1);
  for (const char* text : {"", "1/", "/2", "1/0", "2", "0", "-1/2", "a", "1/2/3", "nan", "6.25%"})
    test::check_error(
        [&] { train::parse_share(text, "--kv-budget"); },
        std::string("--kv-budget: expected a share of a dense cache, such as 1/16 or 0.0625, found '") + text);
}
