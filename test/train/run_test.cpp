#include "train/run.h"

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <fstream>

#include "models/model_folder.h"
#include "models/pattern_file.h"
#include "models/tokenizer_file.h"
#include "ops/threads.h"
#include "test/train/tiny_run.h"

namespace fs = std::filesystem;
namespace test = ratel::test;
namespace train = ratel::train;
using ratel::concat_text;
using test::check_error;
using train::Changes;
using train::RunResult;
using train::Start;
using train::TrainOptions;

namespace {

struct Fixture {
  test::TemporaryFolder folder;
  train::TrainConfig config = test::tiny_config();
  std::vector<std::string> warnings;
  Fixture() { test::write_tokens(folder / "data.bin", test::tiny_tokens(300, 1)); }

  TrainOptions options(const std::string& out, Start start = Start::fresh) {
    TrainOptions o;
    o.config = test::write_config(folder / "config.toml", config);
    o.data = folder / "data.bin";
    o.out = folder / out;
    o.start = start;
    o.observer.warn = [this](const std::string& text) { warnings.push_back(text); };
    return o;
  }
};

/// A run that stops after `steps` of this session.
RunResult part(TrainOptions o, int64_t steps) {
  o.stop = [left = steps]() mutable { return --left <= 0; };
  return train::train_run(o);
}

ratel::ErrorKind kind_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const ratel::Error& error) {
    return error.kind();
  }
  return {};
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(stopping_after_any_step_changes_nothing, Fixture) {
  config.train.keep_checkpoints = 100;
  const RunResult whole = train::train_run(options("whole"));
  BOOST_TEST((whole.status == RunResult::Status::finished));
  BOOST_TEST(whole.step == 12);
  BOOST_TEST(test::exact_metrics(folder / "whole").size() == 12u);
  for (int64_t k = 1; k <= 11; ++k) {
    const std::string name = "stopped" + std::to_string(k);
    const RunResult first = part(options(name), k);
    BOOST_TEST((first.status == RunResult::Status::stopped));
    BOOST_TEST(first.step == k);
    BOOST_TEST(first.checkpoint == train::checkpoint_path(folder / name, k));
    const RunResult second = train::train_run(options(name, Start::resume));
    BOOST_TEST((second.status == RunResult::Status::finished));
    test::check_same_run(folder / name, folder / "whole", 12, "stopped after " + std::to_string(k));
  }
  BOOST_TEST(warnings.empty(), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(stopping_at_every_step_and_on_two_threads_changes_nothing, Fixture) {
  for (const auto joint : {train::Joint::sum, train::Joint::off}) {
    config.train.joint = joint;
    const std::string whole = joint == train::Joint::sum ? "sum" : "off", cut = whole + " cut";
    train::train_run(options(whole));
    part(options(cut), 1);
    for (int step = 2; step <= 12; ++step) {
      config.train.threads = 1 + step % 2;  // neither threads nor recompute nor checkpoints decide a bit
      config.train.recompute = step % 3 == 0;
      config.train.checkpoint_every = step;
      part(options(cut, Start::resume), 1);
    }
    test::check_same_run(folder / cut, folder / whole, 12, cut);
    config = test::tiny_config();
  }
}

BOOST_FIXTURE_TEST_CASE(in_bf16_what_computes_is_read_back_with_its_masters, Fixture) {
  config.train.dtype = ratel::DType::bf16;
  train::train_run(options("whole"));
  part(options("cut"), 5);
  train::train_run(options("cut", Start::resume));
  test::check_same_run(folder / "cut", folder / "whole", 12, "bf16");
}

BOOST_FIXTURE_TEST_CASE(the_number_of_threads_is_the_callers_again, Fixture) {
  ratel::set_num_threads(3);
  part(options("run"), 1);
  BOOST_TEST(ratel::num_threads() == 3);
  config.train.steps = 1;
  config.optimizer.peak_rate = 0;
  BOOST_TEST((kind_of([&] { train::train_run(options("run", Start::resume)); }) == ratel::ErrorKind::usage));
  BOOST_TEST(ratel::num_threads() == 3);
  ratel::set_num_threads(0);
}

BOOST_FIXTURE_TEST_CASE(rows_after_the_checkpoint_are_dropped, Fixture) {
  train::train_run(options("whole"));
  // As after a crash at step 7, the newest checkpoint being that of step 4.
  part(options("crashed"), 7);
  fs::remove_all(train::checkpoint_path(folder / "crashed", 7));
  BOOST_TEST(test::exact_metrics(folder / "crashed").size() == 7u);
  std::ofstream(train::metrics_path(folder / "crashed"), std::ios::app) << R"({"step": 8, "lo)";
  int64_t from = -1;
  TrainOptions o = options("crashed", Start::resume);
  o.observer.start = [&](const train::TrainConfig&, int64_t, int64_t step) { from = step; };
  train::train_run(o);
  BOOST_TEST(from == 4);
  test::check_same_run(folder / "crashed", folder / "whole", 12, "crashed");
}

BOOST_FIXTURE_TEST_CASE(a_damaged_newest_checkpoint_costs_steps_but_no_bit, Fixture) {
  train::train_run(options("whole"));
  for (const char* name :
       {"config.json", "model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"}) {
    warnings.clear();
    const std::string run = folder / name;
    part(options(name), 8);
    fs::resize_file(train::checkpoint_path(run, 8) + '/' + name, 20);
    train::train_run(options(name, Start::resume));
    BOOST_TEST(warnings.size() == 1u);
    test::check_same_run(run, folder / "whole", 12, name);
    train::verify_checkpoint(train::checkpoint_path(run, 8));
  }
}

BOOST_FIXTURE_TEST_CASE(a_run_without_a_checkpoint_resumes_from_the_beginning, Fixture) {
  train::train_run(options("whole"));
  part(options("early"), 2);
  fs::remove_all(train::checkpoints_path(folder / "early"));
  train::train_run(options("early", Start::resume));
  test::check_same_run(folder / "early", folder / "whole", 12, "early");
  BOOST_TEST(warnings.size() == 1u);
  train::train_run(options("never", Start::resume));  // nothing is there at all, and so nothing to warn of
  BOOST_TEST(warnings.size() == 1u);
  test::check_same_run(folder / "never", folder / "whole", 12, "never");
}

BOOST_FIXTURE_TEST_CASE(a_run_whose_checkpoints_are_gone_keeps_its_rows, Fixture) {
  train::train_run(options("whole"));
  part(options("run"), 7);
  const std::string checkpoints = train::checkpoints_path(folder / "run");
  fs::rename(checkpoints, folder / "elsewhere");
  const auto rows = test::exact_metrics(folder / "run");
  check_error([&] { train::train_run(options("run", Start::resume)); },
              "expected the checkpoints of a run of 7 steps, one every 4, found none that is valid");
  fs::create_directory(checkpoints);  // where a disk is to be mounted
  check_error([&] { train::train_run(options("run", Start::resume)); }, "hint: is the disk they are on mounted?");
  BOOST_TEST(test::exact_metrics(folder / "run") == rows, boost::test_tools::per_element());
  fs::remove(checkpoints);
  fs::create_directory_symlink(folder / "elsewhere", checkpoints);
  train::train_run(options("run", Start::resume));
  test::check_same_run(folder / "run", folder / "whole", 12, "run");
}

// Where the folder was, nothing is made anew, and nothing of another run is taken for the run's own.
BOOST_FIXTURE_TEST_CASE(a_run_folder_that_is_moved_or_replaced_ends_the_run, Fixture) {
  for (const char* then : {"moved", "replaced"}) {
    const std::string name = concat_text("run_", then), run = folder / name, elsewhere = run + "_elsewhere";
    TrainOptions o = options(name);
    o.observer.step = [&, o](const train::StepReport& report) {
      if (report.step != 5) return;
      fs::rename(run, elsewhere);
      if (then == std::string("replaced")) fs::copy(elsewhere, run, fs::copy_options::recursive);
    };
    BOOST_TEST((kind_of([&] { train::train_run(o); }) == ratel::ErrorKind::disk));
    BOOST_TEST(fs::exists(run) == (then == std::string("replaced")));
    if (fs::exists(run)) fs::remove_all(run);
    fs::rename(elsewhere, run);
    BOOST_TEST((train::train_run(options(name, Start::resume)).status == RunResult::Status::finished));
  }
}

BOOST_FIXTURE_TEST_CASE(data_that_is_changed_in_place_gets_into_no_checkpoint, Fixture) {
  config.train.checkpoint_every = 4;
  const std::string data = folder / "data.bin";
  const auto before = test::tiny_tokens(300, 1);
  TrainOptions o = options("run");
  o.observer.step = [&](const train::StepReport& report) {
    if (report.step != 6) return;
    std::fstream file(data, std::ios::in | std::ios::out | std::ios::binary);  // in place: the same file
    file.put(static_cast<char>(file.peek() == 1 ? 2 : 1));
  };
  check_error([&] { train::train_run(o); }, "it was changed while the run read it");
  BOOST_TEST(train::newest_checkpoint(folder / "run")->step == 4);
  test::write_tokens(data, before);
  BOOST_TEST((train::train_run(options("run", Start::resume)).status == RunResult::Status::finished));
  train::train_run(options("whole"));
  test::check_same_run(folder / "run", folder / "whole", 12, "resumed");
}

BOOST_FIXTURE_TEST_CASE(a_finished_run_resumes_to_nothing, Fixture) {
  train::train_run(options("done"));
  const auto rows = test::exact_metrics(folder / "done");
  const RunResult again = train::train_run(options("done", Start::resume));
  BOOST_TEST((again.status == RunResult::Status::finished));
  BOOST_TEST(again.checkpoint == train::checkpoint_path(folder / "done", 12));
  BOOST_TEST(test::exact_metrics(folder / "done") == rows, boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(the_run_folder_is_as_promised, Fixture) {
  config.train.keep_checkpoints = 2;
  std::vector<std::string> made;
  TrainOptions o = options("run");
  o.overrides = {"--train.checkpoint_every=5"};
  o.observer.checkpoint = [&](const std::string& path) { made.push_back(path); };
  train::train_run(o);
  const std::string run = folder / "run";
  BOOST_TEST(made == (std::vector<std::string>{train::checkpoint_path(run, 5), train::checkpoint_path(run, 10),
                                               train::checkpoint_path(run, 12)}),
             boost::test_tools::per_element());
  BOOST_TEST(train::list_checkpoints(run).size() == 2u);
  const train::CheckpointState state = train::read_checkpoint_state(made[1]);
  BOOST_TEST(state.epoch == 1);  // after 40 samples of 24 windows
  BOOST_TEST(state.position == 16);
  config.train.checkpoint_every = 5;
  BOOST_TEST((train::load_config(train::config_path(run), {}) == config));
  // Without --config a resumed run takes its own; without --resume the defaults.
  TrainOptions bare = options("run", Start::resume);
  bare.config.clear();
  BOOST_TEST((train::resolve_train_config(bare) == config));
  bare.start = Start::fresh;
  BOOST_TEST((train::resolve_train_config(bare) == train::TrainConfig()));
}

BOOST_FIXTURE_TEST_CASE(starting_where_something_is_and_sharing_a_folder_are_refused, Fixture) {
  part(options("run"), 2);
  check_error([&] { train::train_run(options("run")); }, "expected no run in this folder, found one\nhint: --resume");
  fs::create_directories(folder / "other");
  std::ofstream(folder / "other/thesis.txt") << "years of work";
  check_error([&] { train::train_run(options("other")); }, "expected no run in this folder");
  check_error([&] { train::train_run(options("other", Start::resume)); }, "found no config.toml");
  BOOST_TEST(!fs::exists(folder / "other/lock"));
  const train::RunLock lock(folder / "run");
  check_error([&] { train::train_run(options("run", Start::resume)); }, "is training in this run folder");
  // A command that cannot work leaves no folder behind.
  TrainOptions o = options("none");
  o.data = folder / "missing.bin";
  BOOST_TEST((kind_of([&] { train::train_run(o); }) == ratel::ErrorKind::input));
  o.data = folder / "data.bin";
  o.overrides = {"--data.seq_len=300"};
  BOOST_TEST((kind_of([&] { train::train_run(o); }) == ratel::ErrorKind::input));
  BOOST_TEST(!fs::exists(folder / "none"));
}

BOOST_FIXTURE_TEST_CASE(a_token_out_of_range_ends_the_run_before_its_first_step, Fixture) {
  auto tokens = test::tiny_tokens(300, 1);
  tokens[299] = test::kTinyVocab;  // in the tail, which no window reaches
  test::write_tokens(folder / "data.bin", tokens, test::kTinyVocab + 1);
  TrainOptions o = options("run");
  bool started = false;
  o.observer.start = [&](const train::TrainConfig&, int64_t, int64_t) { started = true; };
  check_error([&] { train::train_run(o); },
              o.data + ":598: token 299 is outside the vocabulary; expected an id below 17, found 17");
  BOOST_TEST(!started);
  BOOST_TEST(!fs::exists(o.out));
}

BOOST_FIXTURE_TEST_CASE(a_changed_run_is_refused_with_both_values_unless_allowed, Fixture) {
  part(options("run"), 4);
  const std::pair<const char*, const char*> changes[] = {
      {"model.vocab_size=20", "model.vocab_size was 17, is 20"},
      {"model.layers=3", "model.layers was 2, is 3"},
      {"model.recurrence=none", R"(model.recurrence was "gated", is "none")"},
      {"data.seq_len=11", "data.seq_len was 12, is 11"},
      {"data.batch_size=6", "data.batch_size was 4, is 6"},
      {"data.accumulate=1", "data.accumulate was 2, is 1"},
      {"data.seed=4", "data.seed was 3, is 4"},
      {"optimizer.peak_rate=1e-3", "optimizer.peak_rate was 0.01, is 0.001"},
      {"optimizer.weight_decay=0", "optimizer.weight_decay was 0.1, is 0.0"},
      {"train.steps=13", "train.steps was 12, is 13"},
      {"train.joint=sum", R"(train.joint was "alternate", is "sum")"},
      {"train.sparse_dilation=8", "train.sparse_dilation was 4, is 8"},
      {"train.dilation=1,2", "train.dilation was 1, is [1,2]"},
      {"train.dtype=f64", R"(train.dtype was "f32", is "f64")"},
  };
  const auto before = test::exact_metrics(folder / "run");
  for (const auto& [override, message] : changes) {
    TrainOptions o = options("run", Start::resume);
    o.overrides = {override};
    check_error([&] { train::train_run(o); }, message);
    BOOST_TEST((kind_of([&] { train::train_run(o); }) == ratel::ErrorKind::usage));
  }
  BOOST_TEST(test::exact_metrics(folder / "run") == before, boost::test_tools::per_element());

  test::write_tokens(folder / "data.bin", test::tiny_tokens(300, 2));
  check_error([&] { train::train_run(options("run", Start::resume)); }, "data was 300 tokens of fingerprint ");
  TrainOptions o = options("run", Start::resume);
  o.overrides = {"train.steps=14", "optimizer.peak_rate=1e-3"};
  o.changes = Changes::allow;
  const RunResult result = train::train_run(o);
  BOOST_TEST(result.step == 14);
  BOOST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings[0].find("train.steps was 12, is 14") != std::string::npos);
  // What it goes on with is what the next resume is compared with.
  BOOST_TEST((train::train_run(o).status == RunResult::Status::finished));
  BOOST_TEST(warnings.size() == 1u);
}

BOOST_FIXTURE_TEST_CASE(five_steps_that_are_not_finite_stop_the_run_and_lose_nothing, Fixture) {
  config.optimizer.peak_rate = 1e6;  // far beyond what f32 stands
  config.optimizer.weight_decay = 1e5;
  config.train.steps = 60;
  config.train.checkpoint_every = 3;
  config.train.keep_checkpoints = 1;
  std::vector<train::SkippedUpdate> skipped;
  TrainOptions o = options("run");
  o.observer.skipped = [&](const train::SkippedUpdate& s) { skipped.push_back(s); };
  ratel::ErrorKind kind{};
  std::string message;
  try {
    train::train_run(o);
  } catch (const ratel::Error& error) {
    kind = error.kind();
    message = error.what();
  }
  BOOST_TEST((kind == ratel::ErrorKind::numerical));
  BOOST_TEST(message.find("5 steps in a row were not finite; step ") != std::string::npos, message);
  BOOST_REQUIRE(!skipped.empty());
  BOOST_TEST(skipped.back().steps_in_a_row == 5);
  const auto newest = train::newest_checkpoint(folder / "run");
  BOOST_REQUIRE(newest.has_value());
  BOOST_TEST(newest->step == skipped.back().step);
  // None of the weights took a value that is not finite.
  const auto weights = ratel::io::SafetensorsFile::open(newest->path + "/model.safetensors");
  for (const std::string& name : weights.names())
    for (const double x : ratel::to_vector<double>(weights.tensor(name))) BOOST_REQUIRE(std::isfinite(x));
  const auto kept = train::list_checkpoints(folder / "run");
  for (int again = 1; again <= 3; ++again) {  // as a script would that restarts what has ended
    BOOST_TEST((kind_of([&] { train::train_run(options("run", Start::resume)); }) == ratel::ErrorKind::numerical));
    const auto now = train::list_checkpoints(folder / "run");
    BOOST_TEST(now.size() == kept.size());
    BOOST_TEST(now.front().step == kept.front().step);
    BOOST_TEST(now.back().step == kept.back().step + again);
  }
}

BOOST_FIXTURE_TEST_CASE(a_disk_that_fills_up_stops_the_run_which_then_resumes, Fixture) {
  train::train_run(options("whole"));
  part(options("run"), 3);
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  rlimit small = limit;
  small.rlim_cur = 6000;
  ::setrlimit(RLIMIT_FSIZE, &small);
  const auto kind = kind_of([&] { train::train_run(options("run", Start::resume)); });
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  BOOST_TEST((kind == ratel::ErrorKind::disk));
  BOOST_TEST(train::newest_checkpoint(folder / "run")->step == 3);
  train::train_run(options("run", Start::resume));
  test::check_same_run(folder / "run", folder / "whole", 12, "run");
}

BOOST_FIXTURE_TEST_CASE(without_space_for_a_checkpoint_no_step_is_made, Fixture) {
  fs::create_directories(folder / "run");
  TrainOptions o = options("run", Start::resume);
  fs::copy(o.config, train::config_path(folder / "run"));
  fs::create_directory_symlink("/proc", train::checkpoints_path(folder / "run"));  // a file system without space
  bool started = false;
  o.observer.start = [&](const train::TrainConfig&, int64_t, int64_t) { started = true; };
  check_error([&] { train::train_run(o); }, "/checkpoints: a checkpoint needs ");
  BOOST_TEST(!started);
}

BOOST_FIXTURE_TEST_CASE(adapting_takes_weights_and_settings_from_the_source, Fixture) {
  config.train.steps = 40;
  train::train_run(options("source"));
  train::AdaptOptions o;
  o.from = folder / "source";
  o.data = folder / "data.bin";
  o.out = folder / "adapted";
  o.dilation = {4};
  o.window = {1, 2};
  const train::TrainConfig adapted = train::resolve_adapt_config(o);
  BOOST_TEST((adapted.train.joint == train::Joint::off));
  BOOST_TEST(adapted.train.steps == 4);
  BOOST_TEST(std::abs(adapted.optimizer.peak_rate - 1e-3) <= 1e-18);
  BOOST_TEST(adapted.optimizer.warmup_fraction == 0.0);
  BOOST_TEST((adapted.data == config.data));
  BOOST_TEST((adapted.model == config.model));

  std::vector<train::StepReport> reports;
  o.overrides = {"--train.steps=6"};
  o.observer.step = [&](const train::StepReport& r) { reports.push_back(r); };
  train::adapt_run(o);
  BOOST_REQUIRE(reports.size() == 6u);
  BOOST_TEST(!reports[0].sparse_loss.has_value());
  BOOST_TEST(reports[0].learning_rate == adapted.optimizer.peak_rate);
  BOOST_TEST(reports[0].loss < 2.7);  // ln 17 = 2.83: trained weights, not fresh ones
  const auto model = ratel::load_model(train::resolve_model_dir(folder / "adapted"));
  const ratel::ModelPattern pattern{{{{4, 1, 0}}, {{4, 2, 0}}}};
  BOOST_REQUIRE(model.description.adapted.has_value());
  BOOST_TEST((*model.description.adapted == pattern));

  // Stopped and resumed, without naming the source again.
  const std::string whole = o.out;
  o.out = folder / "adapted in parts";
  o.stop = [left = 2]() mutable { return --left <= 0; };
  train::adapt_run(o);
  train::AdaptOptions again;
  again.data = o.data;
  again.out = o.out;
  again.start = Start::resume;
  train::adapt_run(again);
  test::check_same_run(o.out, whole, 6, "adapted");
  again.dilation = {8};
  check_error([&] { train::adapt_run(again); }, "train.dilation was 4, is 8");

  // By a pattern file, with a value a head.
  train::AdaptOptions mixed;
  mixed.from = o.from;
  mixed.pattern = folder / "pattern.toml";
  const ratel::ModelPattern by_head{{{{1, 0, 0}, {8, 2, 0}}, {{4, 0, 0}}}};
  ratel::write_pattern_file(mixed.pattern, by_head);
  BOOST_TEST((train::resolve_adapt_config(mixed).pattern() == by_head));
  ratel::write_pattern_file(mixed.pattern, ratel::ModelPattern::uniform({8, 0, 0, 4}));
  check_error([&] { train::resolve_adapt_config(mixed); }, "top-k blocks have no gradient");

  // From a bare model folder: the model's sizes, everything else by default.
  ratel::save_model(folder / "bare", model.description, model.store);
  train::AdaptOptions bare;
  bare.from = folder / "bare";
  const train::TrainConfig defaults = train::resolve_adapt_config(bare);
  BOOST_TEST((defaults.model == config.model));
  BOOST_TEST(defaults.train.steps == 50);
  BOOST_TEST(defaults.data.eos == -1);
  check_error([] { train::resolve_adapt_config({}); }, "adapt: expected a model folder");
}

BOOST_FIXTURE_TEST_CASE(a_run_keeps_its_tokenizer, Fixture) {
  const std::string golden = RATEL_SOURCE_DIR "/test/golden/tokenizers/";
  fs::copy(golden + "llama.model", folder / "tok.model");
  const ratel::Tokenizer tokenizer = ratel::Tokenizer::open(folder / "tok.model");
  config.data.tokenizer = folder / "tok.model";
  config.data.eos = 2;
  check_error([&] { train::train_run(options("small")); }, "needs 700 words, found vocab_size 17");
  config.model.vocab_size = 704;
  config.train.steps = 4;
  const RunResult first = part(options("run"), 2);
  const std::string checkpoint = train::checkpoint_path(folder / "run", 2);
  BOOST_TEST(first.checkpoint == checkpoint);
  BOOST_TEST((ratel::load_tokenizer(checkpoint) == tokenizer));
  BOOST_CHECK_NO_THROW(train::verify_checkpoint(checkpoint));

  // Another tokenizer under the same name is refused, the same one under another is not, nor one that is gone.
  fs::copy_file(golden + "unigram.model", folder / "tok.model", fs::copy_options::overwrite_existing);
  check_error([&] { train::train_run(options("run", Start::resume)); },
              "data.tokenizer was " + checkpoint + "/tokenizer.model (SHA-256 " + tokenizer.hash().substr(0, 16));
  fs::copy(golden + "llama.model", folder / "moved.model");
  config.data.tokenizer = "none";
  check_error([&] { train::train_run(options("run", Start::resume)); }, "...), is none");
  config.data.tokenizer = folder / "moved.model";
  BOOST_TEST(part(options("run", Start::resume), 1).step == 3);
  fs::remove(folder / "moved.model");
  const RunResult last = train::train_run(options("run", Start::resume));
  BOOST_TEST((ratel::load_tokenizer(last.checkpoint) == tokenizer));

  // Adapting takes the model's own.
  train::AdaptOptions adapt;
  adapt.from = folder / "run";
  adapt.dilation = {2};
  adapt.data = folder / "data.bin";
  adapt.out = folder / "adapted";
  BOOST_TEST((ratel::load_tokenizer(train::adapt_run(adapt).checkpoint) == tokenizer));
  adapt.out = folder / "other";
  adapt.overrides = {"data.tokenizer=" + golden + "unigram.model"};
  check_error([&] { train::adapt_run(adapt); }, "data.tokenizer: expected that of ");

  // A checkpoint whose tokenizer is damaged is none.
  std::ofstream(last.checkpoint + "/tokenizer.model", std::ios::app) << "x";
  check_error([&] { train::verify_checkpoint(last.checkpoint); }, "tokenizer.model: expected ");
}
