// Which choice and which last word a model holds for likely, against its log-likelihoods one by one.
#include "tasks/multiple_choice.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tasks/log_likelihood.h"
#include "tasks/token_pairs.h"
#include "test/tasks/small_model.h"

using ratel::DType;
using ratel::Encoder;
using ratel::Error;
using ratel::Tokenizer;
using ratel::tasks::completion_pair;
using ratel::tasks::evaluate_last_word;
using ratel::tasks::evaluate_multiple_choice;
using ratel::tasks::LastWordRow;
using ratel::tasks::mean_metric;
using ratel::tasks::Metric;
using ratel::tasks::MultipleChoiceRow;
using ratel::tasks::perplexity_metric;
using ratel::tasks::TaskResult;
using ratel::tasks::TaskSetting;
using ratel::tasks::token_pair;
using ratel::tasks::TokenPair;
using ratel::test::small_config;
using ratel::test::SmallModel;

namespace {

std::vector<int64_t> ids(const std::string& text) { return Tokenizer::bytes().encode(text); }

std::vector<MultipleChoiceRow> some_rows() {
  std::vector<MultipleChoiceRow> rows;
  for (int64_t i = 0; i < 150; ++i) {
    const std::string context = "question " + std::to_string(i * i);
    MultipleChoiceRow row{"x:" + std::to_string(i), {}, {context}, {}, i % 3};
    if (i == 4) row.id = "four";
    for (int64_t choice = 0; choice < 3; ++choice)
      row.choices.push_back(
          {0, " " + std::string(static_cast<size_t>(1 + (i + 2 * choice) % 5), 'a'), 1 + (i + 2 * choice) % 5});
    rows.push_back(row);
  }
  return rows;
}

double log_likelihood(const TaskSetting& setting, const std::string& context, const std::string& continuation) {
  const TokenPair pair{ids(context), ids(continuation)};
  return log_likelihoods(setting.model, std::vector{pair}, {.pattern = setting.pattern})[0]->sum;
}

}  // namespace

BOOST_AUTO_TEST_CASE(pairs_are_encoded_as_one_text) {
  Encoder bytes(Tokenizer::bytes());
  TokenPair pair = token_pair(bytes, "Q: \n", "yes", "x:1");
  BOOST_TEST(pair.context == ids("Q:"));
  BOOST_TEST(pair.continuation == ids(" \nyes"));  // white space goes over
  pair = token_pair(bytes, " ", "a", "x:1");
  BOOST_TEST(pair.context == std::vector<int64_t>{256});  // end-of-text
  BOOST_TEST(pair.continuation == ids(" a"));
  BOOST_CHECK_EXCEPTION(token_pair(bytes, "c", "", "x:1"), Error, [](const Error& error) {
    return std::string(error.what()).starts_with("x:1: the tokenizer bytes makes no token of \"\"");
  });

  Encoder pieces(Tokenizer::open(std::string(RATEL_SOURCE_DIR) + "/test/golden/tokenizers/llama.model"));
  const std::string context = "it is a truth", continuation = " universally acknowledged";
  pair = token_pair(pieces, context, continuation, "x:1");
  std::vector<int64_t> whole = pair.context;
  whole.insert(whole.end(), pair.continuation.begin(), pair.continuation.end());
  BOOST_TEST(pair.context == pieces.tokenizer().encode(context));
  BOOST_TEST(whole == pieces.tokenizer().encode(context + continuation));
}

BOOST_AUTO_TEST_CASE(completions_follow_the_prompt_as_it_is) {
  Encoder bytes(Tokenizer::bytes());
  TokenPair pair = completion_pair(bytes, "Q: \n", "yes", "x:1");
  BOOST_TEST(pair.context == ids("Q: \n"));  // white space stays
  BOOST_TEST(pair.continuation == ids("yes"));
  BOOST_CHECK_EXCEPTION(completion_pair(bytes, "c", "", "x:1"), Error, [](const Error& error) {
    return std::string(error.what()).starts_with("x:1: the tokenizer bytes makes no token of \"\"");
  });

  const Tokenizer tokenizer = Tokenizer::open(std::string(RATEL_SOURCE_DIR) + "/test/golden/tokenizers/llama.model");
  Encoder pieces(tokenizer);
  for (const auto& [prompt, completion] : std::vector<std::pair<std::string, std::string>>{
           {"it is a truth", " universally"}, {"it is a ", "truth universally"}, {"it is a\n", "truth"}}) {
    pair = completion_pair(pieces, prompt, completion, "x:1");
    BOOST_TEST(pair.context == tokenizer.encode(prompt));
    std::vector<int64_t> whole = pair.context;
    whole.insert(whole.end(), pair.continuation.begin(), pair.continuation.end());
    BOOST_TEST(tokenizer.decode(whole) == prompt + completion);
  }
}

BOOST_AUTO_TEST_CASE(the_likeliest_choice_counts_and_the_likeliest_by_character) {
  const SmallModel m(DType::f64, ratel::kCpu, small_config(257));
  const TaskSetting setting{m.model, Tokenizer::bytes(), ratel::test::some_patterns()[2]};
  std::vector<MultipleChoiceRow> rows = some_rows();
  rows.resize(60);
  const TaskResult result = evaluate_multiple_choice(setting, rows);
  BOOST_TEST(result.complete);
  BOOST_TEST_REQUIRE(result.scores.size() == rows.size());
  double right = 0, right_norm = 0;
  int differ = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    int64_t best = 0, best_norm = 0;
    std::vector<double> sums;
    for (const auto& choice : rows[i].choices) {
      sums.push_back(log_likelihood(setting, rows[i].contexts[0], choice.continuation));
      const auto at = static_cast<int64_t>(sums.size()) - 1;
      const auto length = [&](int64_t c) {
        return static_cast<double>(rows[i].choices[static_cast<size_t>(c)].length);
      };
      if (sums.back() > sums[static_cast<size_t>(best)]) best = at;
      if (sums.back() / length(at) > sums[static_cast<size_t>(best_norm)] / length(best_norm)) best_norm = at;
    }
    right += best == rows[i].gold;
    right_norm += best_norm == rows[i].gold;
    differ += best != best_norm;
    const auto& score = result.scores[i];
    BOOST_TEST(score.at("index").as_int() == static_cast<int64_t>(i));
    BOOST_TEST((score.find("id") != nullptr) == (i == 4));
    for (size_t c = 0; c < sums.size(); ++c)
      BOOST_TEST(score.at("log_likelihoods").as_array()[c].as_double() == sums[c]);
    BOOST_TEST(score.at("prediction").as_int() == best);
    BOOST_TEST(score.at("prediction_norm").as_int() == best_norm);
    BOOST_TEST(score.at("gold").as_int() == rows[i].gold);
    BOOST_TEST(score.at("acc").as_int() == (best == rows[i].gold ? 1 : 0));
  }
  BOOST_TEST(differ > 10);
  const auto n = static_cast<double>(rows.size());
  BOOST_TEST(result.metrics[0].name == "acc");
  BOOST_TEST(std::abs(result.metrics[0].value - right / n) < 1e-15);
  BOOST_TEST(result.metrics[1].name == "acc_norm");
  BOOST_TEST(std::abs(result.metrics[1].value - right_norm / n) < 1e-15);
  // Of zeros and ones the deviation is known: sqrt(p (1 - p) n / (n - 1)).
  const double p = right / n;
  BOOST_TEST(std::abs(result.metrics[0].standard_error - std::sqrt(p * (1 - p) / (n - 1))) < 1e-12);
}

BOOST_AUTO_TEST_CASE(every_score_is_the_same_for_any_batch_size) {
  const SmallModel m(DType::f32, ratel::kCpu, small_config(257));
  const auto rows = some_rows();
  std::vector<LastWordRow> words;
  for (size_t i = 0; i < rows.size(); ++i)
    words.push_back({"x", {}, rows[i].contexts[0], rows[i].choices[i % 3].continuation});
  for (const auto& pattern : {ratel::test::some_patterns()[0], ratel::test::some_patterns()[6]}) {
    TaskSetting setting{m.model, Tokenizer::bytes(), pattern, 1};
    const TaskResult choices = evaluate_multiple_choice(setting, rows), last = evaluate_last_word(setting, words);
    for (const int64_t batch_size : {3, 8}) {
      setting.batch_size = batch_size;
      BOOST_TEST((evaluate_multiple_choice(setting, rows).scores == choices.scores));
      BOOST_TEST((evaluate_last_word(setting, words).scores == last.scores));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_last_word_is_right_where_each_token_is_the_likeliest) {
  const SmallModel m(DType::f64, ratel::kCpu, small_config(257));
  const TaskSetting setting{m.model, Tokenizer::bytes()};
  std::vector<LastWordRow> rows = {{"x", {}, "a truth", " universally"}, {"x", "id", "the cat", " sat"}};
  // A row that is right: what the model itself says next.
  const std::vector<double> logits = ratel::to_vector<double>(m.model(from_vector(ids("ab"), {1, 2}, DType::i64), {}));
  const auto next = std::max_element(logits.begin() + 257, logits.end()) - (logits.begin() + 257);
  BOOST_TEST_REQUIRE(next < 256);
  rows.push_back({"x", {}, "ab", std::string(1, static_cast<char>(next))});
  const TaskResult result = evaluate_last_word(setting, rows);
  double loss = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double expected = log_likelihood(setting, rows[i].context, rows[i].continuation);
    BOOST_TEST(result.scores[i].at("log_likelihood").as_double() == expected);
    loss -= expected / 3;
  }
  BOOST_TEST(result.scores[0].at("tokens").as_int() == 12);
  BOOST_TEST(result.scores[1].at("id").as_string() == "id");
  BOOST_TEST(result.scores[2].at("acc").as_int() == 1);
  BOOST_TEST(std::abs(result.metrics[0].value - 1.0 / 3) < 1e-15);
  BOOST_TEST(result.metrics[1].name == "perplexity");
  BOOST_TEST(std::abs(result.metrics[1].value / std::exp(loss) - 1) < 1e-12);
}

BOOST_AUTO_TEST_CASE(a_stop_keeps_what_was_done) {
  const SmallModel m(DType::f32, ratel::kCpu, small_config(257));
  const auto rows = some_rows();
  int asked = 0;
  int64_t told = 0;
  TaskSetting setting{m.model, Tokenizer::bytes(), {}, 8, [&] { return ++asked > 150 + 30; }, {}};
  setting.progress = [&](int64_t done, int64_t total) {
    told = done;
    BOOST_TEST(total == 150);
  };
  const TaskResult part = evaluate_multiple_choice(setting, rows);
  BOOST_TEST(!part.complete);
  BOOST_TEST(part.scores.size() >= 64u);
  BOOST_TEST(part.scores.size() < rows.size());
  BOOST_TEST(told == 64);
  setting.stop = {};
  const TaskResult all = evaluate_multiple_choice(setting, rows);
  BOOST_TEST(told == 150);
  for (const auto& score : part.scores)
    BOOST_TEST((score == all.scores[static_cast<size_t>(score.at("index").as_int())]));
  setting.stop = [] { return true; };
  const TaskResult none = evaluate_multiple_choice(setting, rows);
  BOOST_TEST(none.scores.empty());
  BOOST_TEST(std::isnan(none.metrics[0].value));
}

BOOST_AUTO_TEST_CASE(an_error_keeps_what_was_done) {
  const SmallModel m(DType::f32, ratel::kCpu, small_config(257));
  const auto rows = some_rows();
  TaskSetting setting{m.model, Tokenizer::bytes(), {}, 1};
  const TaskResult all = evaluate_multiple_choice(setting, rows);
  BOOST_TEST(!all.error);
  setting.progress = [&](int64_t, int64_t) { ratel::test::spoil(m.model); };  // after 64 rows
  const TaskResult part = evaluate_multiple_choice(setting, rows);
  BOOST_TEST(!part.complete);
  BOOST_TEST(part.scores.size() == 64u);
  for (size_t i = 0; i < part.scores.size(); ++i) BOOST_TEST((part.scores[i] == all.scores[i]));
  BOOST_TEST_REQUIRE(part.error.has_value());
  BOOST_TEST((part.error->kind() == ratel::ErrorKind::numerical));
  const std::string what = part.error->what();
  const auto number = std::stoll(what.substr(2));
  BOOST_TEST((number >= 64 && number < 128), what);
  BOOST_TEST(what == "x:" + std::to_string(number) +
                         ": log_likelihoods: the model's probability of a token is not finite: nan");
}

BOOST_AUTO_TEST_CASE(a_stop_ends_the_reading_of_rows) {
  const SmallModel m(DType::f32, ratel::kCpu, small_config(257));
  const auto rows = some_rows();
  int asked = 0;
  const TaskResult none =
      evaluate_multiple_choice({m.model, Tokenizer::bytes(), {}, 8, [&] { return ++asked > 3; }, {}}, rows);
  BOOST_TEST(asked == 4);
  BOOST_TEST(!none.complete);
  BOOST_TEST(none.scores.empty());
}

BOOST_AUTO_TEST_CASE(contexts_have_lengths_of_their_own) {
  const SmallModel m(DType::f64, ratel::kCpu, small_config(257));
  const TaskSetting setting{m.model, Tokenizer::bytes()};
  // By its sum the first is likelier, by character the second, or the other way round: some lengths tell.
  int differ = 0;
  for (const auto& [first, second] : {std::pair<int64_t, int64_t>{1, 40}, {40, 1}}) {
    const MultipleChoiceRow row{"x:1", {}, {"a", "b"}, {{0, " c", first}, {1, " c", second}}, 0};
    const auto score = evaluate_multiple_choice(setting, std::vector{row}).scores[0];
    differ += score.at("prediction").as_int() != score.at("prediction_norm").as_int();
  }
  BOOST_TEST(differ == 1);
}

BOOST_AUTO_TEST_CASE(a_choice_that_does_not_fit_is_the_rows_fault) {
  const SmallModel m(DType::f32, ratel::kCpu, small_config(257));
  const auto rows = some_rows();
  BOOST_CHECK_EXCEPTION(evaluate_multiple_choice({m.model, Tokenizer::bytes()}, rows, {5}), Error, [](const Error& e) {
    BOOST_TEST(std::string(e.what()) == "x:0: expected texts of at most 5 tokens to choose from, found one of 6");
    return e.kind() == ratel::ErrorKind::input;
  });
}

BOOST_AUTO_TEST_CASE(means_have_standard_errors) {
  const std::vector<double> scores = {1, 2, 3, 6};
  const Metric mean = mean_metric("m", scores);
  BOOST_TEST(mean.value == 3);
  BOOST_TEST(std::abs(mean.standard_error - std::sqrt(14.0 / 3 / 4)) < 1e-15);
  const Metric perplexity = perplexity_metric("p", scores);
  BOOST_TEST(perplexity.value == std::exp(3.0));
  BOOST_TEST(std::abs(perplexity.standard_error - std::exp(3.0) * mean.standard_error) < 1e-12);
  BOOST_TEST(std::isnan(mean_metric("m", std::vector{1.0}).standard_error));
  BOOST_TEST(mean_metric("m", std::vector{1.0}).value == 1);
}
