// What a model says to prompts, and how it is scored.
#include "tasks/generation_task.h"

#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tasks/log_likelihood.h"
#include "test/tasks/small_model.h"

using ratel::DType;
using ratel::Error;
using ratel::Tokenizer;
using ratel::tasks::evaluate_generation;
using ratel::tasks::GenerationRow;
using ratel::tasks::GenerationTaskOptions;
using ratel::tasks::middle_truncated;
using ratel::tasks::Prompt;
using ratel::tasks::ScoredPart;
using ratel::tasks::TaskResult;
using ratel::tasks::TaskSetting;
using ratel::tasks::TextMetric;
using ratel::test::SmallModel;

namespace {

const ratel::RatPlusConfig kConfig{.vocab_size = 257, .layers = 2, .channels = 48, .heads = 3};

std::vector<int64_t> ids(const std::string& text) { return Tokenizer::bytes().encode(text); }

GenerationRow row_of(const std::string& prompt, const std::vector<std::string>& answers) {
  GenerationRow row{"x:1", {}, {}, {}, {}, {}, {}, {}};
  row.prompt = prompt;
  row.answers = answers;
  return row;
}

std::vector<GenerationRow> some_rows() {
  std::vector<GenerationRow> rows;
  for (size_t i = 0; i < 70; ++i) {
    rows.push_back(row_of("prompt " + std::string(1 + i * 7 % 40, 'a') + std::to_string(i), {"a", "1"}));
    if (i % 2 == 0) rows.back().metric = TextMetric::string_match;
    if (i % 3 == 0) rows.back().completion = " right";
    if (i % 5 == 0) rows.back().max_new_tokens = 3;
  }
  rows[1].id = "one";
  return rows;
}

}  // namespace

BOOST_AUTO_TEST_CASE(long_prompts_lose_their_middle) {
  BOOST_TEST(middle_truncated(ids("abcdefgh"), 4) == ids("abgh"));
  BOOST_TEST(middle_truncated(ids("abcdefgh"), 5) == ids("abfgh"));
  BOOST_TEST(middle_truncated(ids("abcdefgh"), 1) == ids("h"));
  BOOST_TEST(middle_truncated(ids("abc"), 3) == ids("abc"));
  BOOST_TEST(middle_truncated(ids("abc"), 0) == ids("abc"));
}

BOOST_AUTO_TEST_CASE(what_is_said_is_scored) {
  const SmallModel m(DType::f64, ratel::kCpu, kConfig);
  const TaskSetting setting{m.model, Tokenizer::bytes(), ratel::test::some_patterns()[1]};
  const Prompt prompt{ids("The cat"), 9};
  const std::string said = greedy_continuations(setting, std::vector{prompt})[0]->text;
  std::vector<GenerationRow> rows = {row_of("The cat", {said}), row_of("The cat", {said, "no answer"}),
                                     row_of("The cat", {"no answer"})};
  rows[1].metric = TextMetric::string_match;
  rows[2].completion = " sat";
  GenerationTaskOptions how{.metric = TextMetric::exact_match, .max_new_tokens = 9};
  const TaskResult result = evaluate_generation(setting, rows, how);
  BOOST_TEST(result.scores[0].at("prediction").as_string() == said);
  BOOST_TEST(result.scores[0].at("score").as_double() == 1);
  BOOST_TEST(result.scores[0].at("prompt_tokens").as_int() == 7);
  BOOST_TEST(result.scores[0].at("metric").as_string() == "exact_match");
  BOOST_TEST(!result.scores[0].at("truncated").as_bool());
  BOOST_TEST(result.scores[0].find("answer_loss") == nullptr);
  BOOST_TEST(result.scores[1].at("score").as_double() == 0.5);
  BOOST_TEST(result.scores[2].at("score").as_double() == 0);
  BOOST_TEST_REQUIRE(result.metrics.size() == 4u);
  BOOST_TEST(result.metrics[0].name == "exact_match");
  BOOST_TEST(result.metrics[0].value == 0.5);
  BOOST_TEST(result.metrics[1].name == "string_match");
  BOOST_TEST(result.metrics[1].value == 0.5);
  BOOST_TEST(result.metrics[2].name == "score");
  BOOST_TEST(result.metrics[2].value == 0.5);
  BOOST_TEST(result.metrics[3].name == "answer_loss");
  const ratel::tasks::TokenPair pair{prompt.tokens, ids(" sat")};
  const double sum = log_likelihoods(m.model, std::vector{pair}, {.pattern = setting.pattern})[0]->sum;
  BOOST_TEST(result.metrics[3].value == -sum / 4);
  BOOST_TEST(result.scores[2].at("answer_loss").as_double() == -sum / 4);

  // Cut prompts, the completion's too.
  how.max_length = 5;
  const TaskResult cut = evaluate_generation(setting, rows, how);
  const Prompt shorter{ids("Thcat"), 9};
  BOOST_TEST(cut.scores[0].at("truncated").as_bool());
  BOOST_TEST(cut.scores[0].at("prompt_tokens").as_int() == 5);
  BOOST_TEST(cut.scores[0].at("prediction").as_string() ==
             greedy_continuations(setting, std::vector{shorter})[0]->text);
  const ratel::tasks::TokenPair shorter_pair{shorter.tokens, ids(" sat")};
  BOOST_TEST(cut.metrics.back().value ==
             -log_likelihoods(m.model, std::vector{shorter_pair}, {.pattern = setting.pattern})[0]->sum / 4);
}

BOOST_AUTO_TEST_CASE(stop_strings_and_first_lines) {
  const SmallModel m(DType::f32, ratel::kCpu, kConfig);
  const TaskSetting setting{m.model, Tokenizer::bytes()};
  const std::vector<GenerationRow> rows = {row_of("abc", {"x"})};
  const auto said = [&](const GenerationTaskOptions& how) {
    return evaluate_generation(setting, rows, how).scores[0].at("prediction").as_string();
  };
  const std::string all = said({.max_new_tokens = 40});
  BOOST_TEST_REQUIRE(all.size() > 5);
  const std::string stop = all.substr(4, 1);
  BOOST_TEST(said({.max_new_tokens = 40, .stop_strings = {stop}}) == all.substr(0, all.find(stop)));
  const std::string first = said({.max_new_tokens = 40, .scored = ScoredPart::first_line});
  const size_t begin = std::min(all.size(), all.find_first_not_of('\n'));
  BOOST_TEST(first == all.substr(begin, all.find('\n', begin) - begin));
}

BOOST_AUTO_TEST_CASE(every_score_is_the_same_for_any_batch_size) {
  const SmallModel m(DType::f32, ratel::kCpu, kConfig);
  const auto rows = some_rows();
  const GenerationTaskOptions how{.max_new_tokens = 6, .max_length = 40};
  for (const auto& pattern : {ratel::test::some_patterns()[0], ratel::test::some_patterns()[6]}) {
    TaskSetting setting{m.model, Tokenizer::bytes(), pattern, 1};
    const TaskResult alone = evaluate_generation(setting, rows, how);
    BOOST_TEST(alone.scores.size() == rows.size());
    BOOST_TEST(alone.scores[1].at("id").as_string() == "one");
    for (const int64_t batch_size : {3, 8}) {
      setting.batch_size = batch_size;
      const TaskResult found = evaluate_generation(setting, rows, how);
      for (size_t i = 0; i < rows.size(); ++i)
        BOOST_TEST((found.scores[i] == alone.scores[i]), found.scores[i].dump() << " and " << alone.scores[i].dump());
    }
  }
}

BOOST_AUTO_TEST_CASE(a_stop_keeps_what_was_done) {
  const SmallModel m(DType::f32, ratel::kCpu, kConfig);
  const auto rows = some_rows();
  const GenerationTaskOptions how{.max_new_tokens = 4};
  int64_t told = 0;
  TaskSetting setting{m.model, Tokenizer::bytes(), {}, 8, {}, [&](int64_t done, int64_t) { told = done; }};
  const TaskResult all = evaluate_generation(setting, rows, how);
  BOOST_TEST(all.complete);
  BOOST_TEST(told == 70);
  for (const int64_t enough : {8, 30, 66}) {  // in the first rows that are computed together too
    setting.stop = [&] { return told >= enough; };
    told = 0;
    const TaskResult part = evaluate_generation(setting, rows, how);
    BOOST_TEST(!part.complete);
    BOOST_TEST(!part.error);
    BOOST_TEST(part.scores.size() >= static_cast<size_t>(enough));
    BOOST_TEST(part.scores.size() < 70u);
    int64_t with_completion = 0;
    for (const auto& score : part.scores) {
      BOOST_TEST((score == all.scores[static_cast<size_t>(score.at("index").as_int())]));
      with_completion += score.find("answer_loss") != nullptr ? 1 : 0;
    }
    BOOST_TEST(with_completion > 0);
  }
  int asked = 0;
  setting.stop = [&] { return ++asked > 3; };
  BOOST_TEST(evaluate_generation(setting, rows, how).scores.empty());
  BOOST_TEST(asked == 4);  // while the rows are encoded
}

BOOST_AUTO_TEST_CASE(an_error_keeps_what_was_done) {
  const SmallModel m(DType::f32, ratel::kCpu, kConfig);
  std::vector<GenerationRow> rows = some_rows();
  for (size_t i = 0; i < rows.size(); ++i) rows[i].where = "x:" + std::to_string(i + 1);
  const GenerationTaskOptions how{.max_new_tokens = 4};
  TaskSetting setting{m.model, Tokenizer::bytes(), {}, 8};
  const TaskResult all = evaluate_generation(setting, rows, how);
  setting.progress = [&](int64_t done, int64_t) {
    if (done >= 20) ratel::test::spoil(m.model);
  };
  const TaskResult part = evaluate_generation(setting, rows, how);
  BOOST_TEST(!part.complete);
  BOOST_TEST(part.scores.size() >= 20u);
  BOOST_TEST(part.scores.size() < 30u);
  for (const auto& score : part.scores)
    BOOST_TEST((score == all.scores[static_cast<size_t>(score.at("index").as_int())]));
  BOOST_TEST_REQUIRE(part.error.has_value());
  BOOST_TEST((part.error->kind() == ratel::ErrorKind::numerical));
  const std::string what = part.error->what();
  BOOST_TEST(what.starts_with("x:"), what);
  BOOST_TEST(what.find(" computed with it: ") != std::string::npos, what);
}

BOOST_AUTO_TEST_CASE(a_row_without_room_is_found_before_anything_is_computed) {
  const SmallModel m(DType::f32, ratel::kCpu, kConfig);
  std::vector<GenerationRow> rows = some_rows();
  rows[65].where = "x:66";
  rows[65].max_new_tokens = int64_t{1} << 38;
  BOOST_CHECK_EXCEPTION(evaluate_generation({m.model, Tokenizer::bytes()}, rows, {}), Error, [](const Error& error) {
    BOOST_TEST(std::string(error.what()).starts_with("x:66: no memory for a cache of 2748779"), error.what());
    return error.kind() == ratel::ErrorKind::memory;
  });
}

BOOST_AUTO_TEST_CASE(a_completion_follows_white_space_that_the_model_has_read) {
  const SmallModel m(DType::f64, ratel::kCpu, kConfig);
  const TaskSetting setting{m.model, Tokenizer::bytes()};
  std::vector<GenerationRow> rows = {row_of("The cat: ", {"x"})};
  rows[0].completion = "sat";
  const ratel::tasks::TokenPair pair{ids("The cat: "), ids("sat")};
  const double sum = log_likelihoods(m.model, std::vector{pair}, {})[0]->sum;
  BOOST_TEST(evaluate_generation(setting, rows, {.max_new_tokens = 1}).metrics.back().value == -sum / 3);
}

BOOST_AUTO_TEST_CASE(rows_that_cannot_be_scored_are_refused) {
  const SmallModel m(DType::f32, ratel::kCpu, kConfig);
  std::vector<GenerationRow> rows = {row_of("abc", {"x"})};
  rows[0].metric = TextMetric::classification;
  BOOST_CHECK_EXCEPTION(evaluate_generation({m.model, Tokenizer::bytes()}, rows, {}), Error, [](const Error& error) {
    BOOST_TEST(std::string(error.what()).starts_with("x:1: expected \"all_classes\""));
    return error.kind() == ratel::ErrorKind::input;
  });
  rows = {row_of("abc", {"x", ""})};
  BOOST_TEST(evaluate_generation({m.model, Tokenizer::bytes()}, rows, {.max_new_tokens = 1}).complete);  // of f1
  rows[0].metric = TextMetric::string_match;
  BOOST_CHECK_EXCEPTION(evaluate_generation({m.model, Tokenizer::bytes()}, rows, {}), Error, [](const Error& error) {
    BOOST_TEST(std::string(error.what()).starts_with("x:1: expected answers of at least one character"));
    return error.kind() == ratel::ErrorKind::input;
  });
  BOOST_CHECK_THROW(evaluate_generation({m.model, Tokenizer::bytes()}, rows, {.max_new_tokens = 0}), Error);
}
