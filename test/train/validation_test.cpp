// Validation at intervals, the best checkpoint, and what a run leaves for people to read.
#include "train/validation.h"

#include <algorithm>

#include <cmath>
#include <fstream>
#include <utility>

#include "models/model_folder.h"
#include "test/train/tiny_run.h"
#include "train/evaluate.h"
#include "train/flops.h"

namespace fs = std::filesystem;
namespace test = ratel::test;
namespace train = ratel::train;
using ratel::io::Json;
using test::check_error;
using train::RunResult;
using train::Start;
using train::TrainOptions;
using train::ValidationReport;

namespace {

struct Fixture {
  test::TemporaryFolder folder;
  train::TrainConfig config = test::tiny_config();
  std::vector<ValidationReport> reports;
  std::vector<std::string> warnings;
  Fixture() {
    test::write_tokens(folder / "data.bin", test::tiny_tokens(300, 1));
    test::write_tokens(folder / "held.bin", test::tiny_tokens(100, 2));
    config.data.validation = folder / "held.bin";
    config.train.validate_every = 3;
  }

  void keep_the_best_of_one_that_gets_worse() {
    config.train.keep_checkpoints = 1;
    config.train.keep_best = true;
    config.optimizer.peak_rate = 0.3;  // it gets better, then worse
    config.optimizer.warmup_fraction = 1;
  }

  TrainOptions options(const std::string& out, Start start = Start::fresh) {
    TrainOptions o;
    o.config = test::write_config(folder / "config.toml", config);
    o.data = folder / "data.bin";
    o.out = folder / out;
    o.start = start;
    o.observer.validation = [this](const ValidationReport& report) { reports.push_back(report); };
    o.observer.warn = [this](const std::string& text) { warnings.push_back(text); };
    return o;
  }
  /// Runs until `stop` has been asked that often.
  RunResult polled(const std::string& out, int64_t polls, Start start = Start::fresh) {
    TrainOptions o = options(out, start);
    o.stop = [left = polls]() mutable { return --left <= 0; };
    return train::train_run(o);
  }
  [[nodiscard]] std::vector<int64_t> steps_left(const std::string& run) const {
    std::vector<int64_t> steps;
    for (const auto& entry : train::list_checkpoints(folder / run)) steps.push_back(entry.step);
    return steps;
  }
  /// Says in the run's metrics that the validation after `step` had this loss.
  void rewrite_loss(const std::string& run, int64_t step, const Json& loss) const {
    std::string text;
    for (Json row : ratel::io::read_metrics(train::metrics_path(folder / run))) {
      if (row.find("validation_loss") != nullptr && row.at("step").as_int() == step) row.set("validation_loss", loss);
      text += row.dump() + '\n';
    }
    ratel::io::write_file_atomically(train::metrics_path(folder / run), text);
  }
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(losses_are_those_of_evaluate_and_training_is_undisturbed, Fixture) {
  config.train.validate_tokens = 0;
  config.train.keep_checkpoints = 100;
  train::train_run(options("run"));
  BOOST_REQUIRE(reports.size() == 4u);
  for (size_t i = 0; i < 4; ++i) BOOST_TEST(reports[i].step == static_cast<int64_t>(3 * (i + 1)));
  const auto file = ratel::io::TokenFile::open(folder / "held.bin", test::kTinyVocab);
  const auto loaded = ratel::load_model(train::checkpoint_path(folder / "run", 12));
  const auto expect = [&](const ratel::ModelPattern& pattern) {
    return train::evaluate(loaded.model, file,
                           {.seq_len = 12, .pattern = pattern, .batch_size = 2, .eos = test::kTinyEos});
  };
  BOOST_TEST(reports[3].loss == expect(config.pattern()).loss);
  BOOST_TEST(reports[3].sparse_loss.value() == expect(config.sparse_pattern()).loss);
  BOOST_TEST(reports[3].validation_tokens == expect(config.pattern()).tokens);
  BOOST_TEST(reports[3].tokens == 12 * 4 * 12);

  // Without validation the steps are the same.
  auto with = test::exact_metrics(folder / "run");
  std::erase_if(with, [](const std::string& row) { return row.find("validation_loss") != std::string::npos; });
  config.data.validation.clear();
  train::train_run(options("without"));
  BOOST_TEST(with == test::exact_metrics(folder / "without"), boost::test_tools::per_element());
  test::check_same_checkpoint(train::checkpoint_path(folder / "run", 12),
                              train::checkpoint_path(folder / "without", 12), "without validation");
}

BOOST_FIXTURE_TEST_CASE(the_last_step_is_validated_wherever_it_falls, Fixture) {
  config.train.validate_every = 5;
  BOOST_TEST((train::train_run(options("run")).status == RunResult::Status::finished));
  std::vector<int64_t> steps;
  for (const ValidationReport& report : reports) steps.push_back(report.step);
  BOOST_TEST(steps == (std::vector<int64_t>{5, 10, 12}), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(validate_tokens_spreads_windows_over_the_file, Fixture) {
  config.train.validate_tokens = 30;  // two windows of 12
  config.train.joint = train::Joint::off;
  train::train_run(options("run"));
  const auto file = ratel::io::TokenFile::open(folder / "held.bin", test::kTinyVocab);
  const auto loaded = ratel::load_model(train::checkpoint_path(folder / "run", 12));
  const std::vector<int64_t> begins{24, 72};  // of 8 windows, the third and the seventh
  BOOST_TEST(train::spread_windows(0, 8, 12, 30) == begins, boost::test_tools::per_element());
  const auto losses =
      train::window_losses(loaded.model, file, begins, {.seq_len = 12, .pattern = {}, .eos = test::kTinyEos});
  BOOST_TEST(std::abs(reports.back().loss - train::mean_of(losses).loss) < 1e-6);
  BOOST_TEST(!reports.back().sparse_loss.has_value());
  BOOST_TEST(reports.back().validation_tokens <= 24);

  config.train.validate_tokens = 99;  // all that is predicted: no window is left out, nor the end, which is none
  train::train_run(options("all"));
  BOOST_TEST(reports.back().validation_tokens ==
             train::evaluate(loaded.model, file, {.seq_len = 12, .pattern = {}, .eos = test::kTinyEos}).tokens);
}

BOOST_FIXTURE_TEST_CASE(stopping_in_a_validation_or_between_changes_nothing, Fixture) {
  config.train.keep_checkpoints = 100;
  config.train.keep_best = true;
  train::train_run(options("whole"));
  const auto best = train::best_checkpoint(folder / "whole");
  int64_t cut_short = 0, cut_at_end = 0;
  for (int64_t polls = 1;; ++polls) {
    const std::string name = "cut" + std::to_string(polls);
    const RunResult first = polled(name, polls);
    if (first.status == RunResult::Status::finished) break;
    cut_at_end += first.step == 12 ? 1 : 0;
    const auto rows = test::exact_metrics(folder / name);
    cut_short += first.step % 3 == 0 && rows.back().find("validation_loss") == std::string::npos ? 1 : 0;
    train::train_run(options(name, Start::resume));
    test::check_same_run(folder / name, folder / "whole", 12, name);
    BOOST_TEST(fs::path(train::best_checkpoint(folder / name)->path).filename() == fs::path(best->path).filename());
  }
  BOOST_TEST(cut_at_end > 2);  // a run that is not validated has not finished
  BOOST_TEST(cut_short > 8);   // within the own pattern and the sparse one, and before either, four times each
  BOOST_TEST(warnings.empty(), boost::test_tools::per_element());
}

// Where a run gives up it is not validated; resumed, it is, and gives up again a step further. What it then removes,
// the checkpoint of the step before, may be the best one.
BOOST_FIXTURE_TEST_CASE(a_run_that_gives_up_again_and_again_keeps_its_best_checkpoint, Fixture) {
  config.optimizer.peak_rate = 1e6;  // far beyond what f32 stands
  config.optimizer.weight_decay = 1e5;
  config.train.steps = 60;
  config.train.checkpoint_every = 3;
  config.train.keep_best = true;
  const auto gives_up = [&](const std::string& out, Start start) {
    check_error([&] { train::train_run(options(out, start)); }, "5 steps in a row were not finite");
  };
  config.train.validate_every = 60;
  gives_up("first", Start::fresh);
  const int64_t last = steps_left("first").back();
  config.train.validate_every = last;
  gives_up("run", Start::fresh);
  BOOST_TEST_REQUIRE(reports.empty());
  std::vector<int64_t> left = steps_left("run");
  for (int64_t again = 1; again <= 3; ++again) {
    gives_up("run", Start::resume);
    if (again == 1) left.push_back(0);  // it stays, and so does the newest
    left.back() = last + again;
    BOOST_TEST(steps_left("run") == left, boost::test_tools::per_element());
    const auto best = train::best_checkpoint(folder / "run");
    BOOST_TEST_REQUIRE(best.has_value());
    BOOST_TEST(best->step == last);
  }
  BOOST_TEST_REQUIRE(reports.size() == 1u);
  BOOST_TEST(reports[0].is_best);
}

// Which checkpoint was the best is in the rows. Without them none of what is there is removed.
BOOST_FIXTURE_TEST_CASE(lost_rows_cost_no_checkpoint, Fixture) {
  keep_the_best_of_one_that_gets_worse();
  train::train_run(options("run"));
  std::vector<int64_t> left = steps_left("run");
  BOOST_TEST_REQUIRE(left.size() == 2u);
  fs::remove(train::metrics_path(folder / "run"));
  config.train.steps = 14;
  TrainOptions more = options("run", Start::resume);
  more.changes = train::Changes::allow;
  warnings.clear();
  train::train_run(more);
  left.push_back(14);
  BOOST_TEST(steps_left("run") == left, boost::test_tools::per_element());
  BOOST_TEST(std::ranges::any_of(warnings, [](const std::string& text) {
    return text.find("rows up to step 12 are missing: which checkpoint is the best is not known") != text.npos;
  }));
  // Nor by any later session; step 12, say, was validated again, so that it is known what it is worth.
  config.train.steps = 16;
  TrainOptions last = options("run", Start::resume);
  last.changes = train::Changes::allow;
  train::train_run(last);
  const std::vector<int64_t> then = steps_left("run");
  BOOST_TEST((then.front() == left.front() && then.back() == 16));
}

BOOST_FIXTURE_TEST_CASE(the_best_checkpoint_stays_and_is_found, Fixture) {
  keep_the_best_of_one_that_gets_worse();
  train::train_run(options("run"));
  int64_t best = 0;
  double lowest = std::numeric_limits<double>::infinity();
  for (const ValidationReport& report : reports) {
    BOOST_TEST(report.is_best == (report.loss < lowest));
    if (report.loss < lowest) lowest = report.loss, best = report.step;
  }
  BOOST_TEST_REQUIRE((best > 0 && best < 12));
  BOOST_TEST(steps_left("run") == (std::vector<int64_t>{best, 12}), boost::test_tools::per_element());
  const std::string path = train::checkpoint_path(folder / "run", best);
  BOOST_TEST(train::resolve_model_dir(folder / "run/best") == path);
  BOOST_TEST(train::resolve_model_dir(folder / "run/best//") == path);
  BOOST_TEST(train::resolve_model_dir(folder / "run") == train::checkpoint_path(folder / "run", 12));
  // A folder of that name is what it says.
  fs::create_directory(folder / "run/best");
  fs::copy(path + "/config.json", folder / "run/best/config.json");
  BOOST_TEST(train::resolve_model_dir(folder / "run/best") == folder / "run/best");
  fs::remove_all(folder / "run/best");

  BOOST_TEST(warnings.empty(), boost::test_tools::per_element());

  // Without validation there is none, which is said.
  const std::string held = std::exchange(config.data.validation, "");
  train::train_run(options("blind"));
  BOOST_TEST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings[0].starts_with("train.keep_best: without --validation FILE.bin"), warnings[0]);
  BOOST_TEST(!train::best_checkpoint(folder / "blind").has_value());
  config.data.validation = held;

  // Without keep_best it goes as all others do.
  config.train.keep_best = false;
  TrainOptions plain = options("plain");
  int made = 0;
  plain.observer.checkpoint = [&](const std::string&) { ++made; };
  train::train_run(plain);
  BOOST_TEST(made == 3);
  BOOST_TEST(steps_left("plain") == (std::vector<int64_t>{12}), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(of_equal_losses_the_first_is_the_best, Fixture) {
  config.train.keep_checkpoints = 1;
  config.train.keep_best = true;
  config.optimizer.peak_rate = config.optimizer.final_rate = 0;  // no step changes a weight
  train::train_run(options("run"));
  BOOST_REQUIRE(reports.size() == 4u);
  for (const ValidationReport& report : reports) {
    BOOST_TEST(report.loss == reports[0].loss);
    BOOST_TEST(report.is_best == (report.step == 3));
  }
  BOOST_TEST(steps_left("run") == (std::vector<int64_t>{3, 12}), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(the_best_is_what_metrics_and_checkpoints_say, Fixture) {
  config.train.keep_checkpoints = 100;
  config.train.checkpoint_every = 3;
  train::train_run(options("run"));
  const auto best = [&] {
    return fs::path(train::best_checkpoint(folder / "run", [&](const std::string& text) { warnings.push_back(text); })
                        .value()
                        .path)
        .filename()
        .string();
  };
  for (const int64_t step : {3, 6, 9, 12}) rewrite_loss("run", step, 5);
  BOOST_TEST(best() == "step-3");  // the earliest of equals
  rewrite_loss("run", 9, 1);
  BOOST_TEST(best() == "step-9");
  rewrite_loss("run", 3, {});  // not finite
  rewrite_loss("run", 12, 2);
  fs::resize_file(train::checkpoint_path(folder / "run", 9) + "/state.json", 10);
  BOOST_TEST(best() == "step-12");
  BOOST_TEST(warnings.size() == 1u);
  fs::remove_all(train::checkpoint_path(folder / "run", 12));
  BOOST_TEST(best() == "step-6");
  fs::remove(train::metrics_path(folder / "run"));
  BOOST_TEST(!train::best_checkpoint(folder / "run").has_value());
  check_error([&] { train::resolve_model_dir(folder / "run/best"); }, "expected a checkpoint that was validated");
  check_error([&] { train::resolve_model_dir(folder / "best"); }, "expected RUN/best, found no checkpoints in");
}

BOOST_FIXTURE_TEST_CASE(other_validation_data_is_a_change_and_taking_it_up_is_none, Fixture) {
  const std::string held = config.data.validation;
  config.data.validation.clear();
  polled("run", 4);
  config.data.validation = held;
  polled("run", 4, Start::resume);
  fs::copy(held, folder / "moved.bin");  // the same data elsewhere
  config.data.validation = folder / "moved.bin";
  polled("run", 2, Start::resume);
  config.data.validation.clear();  // a session without it does not forget it
  polled("run", 1, Start::resume);
  config.data.validation = folder / "moved.bin";
  test::write_tokens(folder / "moved.bin", test::tiny_tokens(100, 3));
  check_error([&] { train::train_run(options("run", Start::resume)); },
              "validation data was 100 tokens of fingerprint ");
  config.data.validation = folder / "none.bin";
  check_error([&] { train::train_run(options("run", Start::resume)); }, "none.bin: not opened");
}

BOOST_FIXTURE_TEST_CASE(an_unreadable_row_after_the_checkpoint_is_dropped_with_a_warning, Fixture) {
  train::train_run(options("whole"));
  polled("run", 2);
  std::ofstream(train::metrics_path(folder / "run"), std::ios::app) << "{\"step\": 3, \"lo\n{}\n";
  train::train_run(options("run", Start::resume));
  BOOST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings[0].find("metrics.jsonl:") != std::string::npos, warnings[0]);
  BOOST_TEST(warnings[0].find("dropped with all that follows") != std::string::npos, warnings[0]);
  test::check_same_run(folder / "run", folder / "whole", 12, "torn");
}

BOOST_FIXTURE_TEST_CASE(mfu_is_stated_where_the_peak_is_known, Fixture) {
  TrainOptions o = options("run");
  std::vector<train::StepReport> steps;
  o.observer.step = [&](const train::StepReport& report) { steps.push_back(report); };
  o.peak_flops = [](ratel::Device, ratel::DType) { return std::optional(1e9); };
  train::train_run(o);
  // Both passes of a token.
  const double flops = (train::training_flops(config.model, config.pattern(), 12) +
                        train::training_flops(config.model, config.sparse_pattern(), 12)) /
                       12;
  for (const auto& step : steps) {
    BOOST_REQUIRE(step.mfu.has_value());
    BOOST_TEST(std::abs(*step.mfu / (flops * step.tokens_per_second / 1e9) - 1) < 1e-12);
    BOOST_TEST(step.memory_peak >= step.memory_live);
    BOOST_TEST(step.memory_live > 0);
  }
  const auto rows = ratel::io::read_metrics(train::metrics_path(folder / "run"));
  BOOST_TEST(rows[0].at("mfu").as_double() == *steps[0].mfu);
}

BOOST_FIXTURE_TEST_CASE(a_file_shorter_than_a_window_is_validated_on_as_a_whole, Fixture) {
  test::write_tokens(config.data.validation, {1, 4, 7, 10, 13, 2, 5, 8});  // 12 and one make a window
  config.train.validate_tokens = 3;
  train::train_run(options("run"));
  BOOST_REQUIRE(!reports.empty());
  const auto file = ratel::io::TokenFile::open(config.data.validation, test::kTinyVocab);
  const auto loaded = ratel::load_model(train::checkpoint_path(folder / "run", 12));
  BOOST_TEST(reports.back().validation_tokens == 7);
  BOOST_TEST(reports.back().loss ==
             train::evaluate(loaded.model, file, {.seq_len = 12, .pattern = {}, .eos = test::kTinyEos}).loss);
}

BOOST_FIXTURE_TEST_CASE(validation_data_that_counts_nothing_ends_the_run_before_it_starts, Fixture) {
  std::vector<int64_t> tokens(100, test::kTinyEos);
  for (const int64_t most : {0, 30}) {
    config.train.validate_tokens = most;
    test::write_tokens(config.data.validation, tokens);
    check_error([&] { train::train_run(options("run")); }, "held.bin: expected tokens to predict from, found nothing");
    BOOST_TEST(!fs::exists(folder / "run"));
    tokens[0] = 1;  // in no window of the second validation, which are the third and the seventh
  }
}

BOOST_FIXTURE_TEST_CASE(validating_on_the_training_data_is_warned_of, Fixture) {
  fs::copy_file(folder / "data.bin", folder / "copy.bin");
  config.data.validation = folder / "copy.bin";
  train::train_run(options("run"));
  BOOST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings[0] == folder / "copy.bin: the validation data is the training data");
}
