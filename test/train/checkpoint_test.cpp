#include "train/checkpoint.h"

#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <tuple>

#include "io/file.h"
#include "io/hash.h"
#include "models/model_folder.h"
#include "test/train/tiny_run.h"

namespace fs = std::filesystem;
namespace test = ratel::test;
namespace train = ratel::train;
using test::check_error;
using train::CheckpointState;

namespace {

const char* const kFiles[] = {"config.json", "model.safetensors", "optimizer.safetensors", "state.json",
                              "MANIFEST.json"};

/// A model that saves itself as often as a test wants.
struct Fixture {
  test::TemporaryFolder folder;
  std::string run = folder / "run";
  train::TrainConfig config = test::tiny_config();
  ratel::nn::ParamStore store{ratel::DType::f32, 5};
  ratel::RatPlus model{ratel::nn::Scope(store), config.model};
  train::Optimizer optimizer{store, config.optimizer};
  Fixture() { fs::create_directories(run); }

  [[nodiscard]] std::string save(int64_t step) const {
    CheckpointState state;
    state.progress = {.step = step,
                      .samples = 4 * step,
                      .tokens = 48 * step,
                      .skipped_updates = 1,
                      .skipped_in_a_row = 2,
                      .seconds = 0.1};
    state.epoch = 3;
    state.position = 7;
    state.optimizer_steps = 2 * step;
    state.data = {"abc", 99};
    state.config = config;
    return train::save_checkpoint(run, state, store, optimizer);
  }
  [[nodiscard]] std::vector<int64_t> steps() const {
    std::vector<int64_t> result;
    for (const auto& entry : train::list_checkpoints(run)) result.push_back(entry.step);
    return result;
  }
};

using Damage = void (*)(const std::string& path);
constexpr std::pair<const char*, Damage> kDamages[] = {
    {"missing", [](const std::string& path) { fs::remove(path); }},
    {"empty", [](const std::string& path) { fs::resize_file(path, 0); }},
    {"truncated", [](const std::string& path) { fs::resize_file(path, fs::file_size(path) - 2); }},
    {"longer", [](const std::string& path) { std::ofstream(path, std::ios::app) << 'x'; }},
    {"one bit flipped",
     [](const std::string& path) {
       std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
       file.seekg(static_cast<std::streamoff>(fs::file_size(path) / 2));
       const auto byte = static_cast<char>(file.peek());
       file.seekp(file.tellg());
       file.put(static_cast<char>(byte ^ 4));
     }},
    {"a folder",
     [](const std::string& path) {
       fs::remove(path);
       fs::create_directory(path);
     }},
    {"a link",
     [](const std::string& path) {
       fs::rename(path, path + ".elsewhere");
       fs::create_symlink(path + ".elsewhere", path);
     }},
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(what_is_saved_is_read_back_and_is_a_model_folder, Fixture) {
  for (const auto& [name, tensor] : optimizer.state())
    for (auto* x = tensor.data<float>(); x != tensor.data<float>() + tensor.numel(); ++x) *x = 0.5F;
  const std::string path = save(8);
  BOOST_TEST(path == run + "/checkpoints/step-8");
  train::verify_checkpoint(path);
  const CheckpointState state = train::read_checkpoint_state(path);
  BOOST_TEST((state.progress == train::Progress{8, 32, 384, 1, 2, 0.1}));
  BOOST_TEST(state.epoch == 3);
  BOOST_TEST(state.position == 7);
  BOOST_TEST(state.optimizer_steps == 16);
  BOOST_TEST((state.data == train::DataIdentity{"abc", 99}));
  BOOST_TEST((state.config == config));

  ratel::nn::ParamStore other(ratel::DType::f32, 6);
  const ratel::RatPlus copy(ratel::nn::Scope(other), config.model);
  train::Optimizer moments(other, config.optimizer);
  train::load_checkpoint(path, state, other, moments);
  for (const auto& [name, p] : store.parameters()) test::check_identical(other.at(name), p, name);
  for (size_t i = 0; i < optimizer.state().size(); ++i)
    test::check_identical(moments.state()[i].tensor, optimizer.state()[i].tensor, optimizer.state()[i].name);
  BOOST_TEST(moments.steps() == 16);

  const auto loaded = ratel::load_model(path);
  BOOST_TEST((loaded.description.config == config.model));
  BOOST_TEST(!loaded.description.adapted.has_value());
}

BOOST_FIXTURE_TEST_CASE(a_run_through_one_pattern_records_it, Fixture) {
  config.train.joint = train::Joint::off;
  config.train.dilation = {2, 4};
  const auto loaded = ratel::load_model(save(1));
  BOOST_REQUIRE(loaded.description.adapted.has_value());
  BOOST_TEST((*loaded.description.adapted == ratel::ModelPattern{{{{2, 0, 0}}, {{4, 0, 0}}}}));
}

BOOST_FIXTURE_TEST_CASE(every_damage_of_the_newest_falls_back_to_the_older, Fixture) {
  const std::string older = save(4);
  for (const char* name : kFiles)
    for (const auto& [what, damage] : kDamages) {
      const std::string newest = save(8);
      damage(newest + '/' + name);
      std::vector<std::string> warnings;
      const auto found = train::newest_checkpoint(run, [&](const std::string& text) { warnings.push_back(text); });
      BOOST_TEST_CONTEXT(name << ' ' << what) {
        BOOST_REQUIRE(found.has_value());
        // A link in place of the manifest leads to the same words; a link in place of data is refused.
        if (std::string(name) != "MANIFEST.json" || std::string(what) != "a link") {
          BOOST_TEST(found->path == older);
          BOOST_REQUIRE(warnings.size() == 1u);
          BOOST_TEST(warnings[0].find("step-8/") != std::string::npos, warnings[0]);
          BOOST_TEST(warnings[0].find("passed over") != std::string::npos, warnings[0]);
          BOOST_TEST(warnings[0].find('\n') == std::string::npos, warnings[0]);
        }
        BOOST_TEST(train::resolve_model_dir(run) == found->path);
      }
      fs::remove_all(newest);
    }
}

BOOST_FIXTURE_TEST_CASE(one_clear_error_where_none_is_valid, Fixture) {
  BOOST_TEST(!train::newest_checkpoint(run).has_value());
  for (const int64_t step : {1, 2}) fs::remove(save(step) + "/state.json");
  check_error([&] { train::newest_checkpoint(run); }, "expected a valid checkpoint, found 2, all damaged");
  check_error([&] { train::resolve_model_dir(run); }, "expected a valid checkpoint");
}

BOOST_FIXTURE_TEST_CASE(a_valid_checkpoint_stays_and_a_damaged_one_is_replaced, Fixture) {
  const std::string path = save(3);
  const auto before = fs::last_write_time(path + "/MANIFEST.json");
  BOOST_TEST(save(3) == path);
  BOOST_TEST((fs::last_write_time(path + "/MANIFEST.json") == before));
  fs::resize_file(path + "/model.safetensors", 10);
  std::ignore = save(3);
  train::verify_checkpoint(path);
  fs::remove_all(path);
  fs::create_directory_symlink(folder / "gone", path);
  BOOST_TEST(save(3) == path);
  train::verify_checkpoint(path);
}

BOOST_FIXTURE_TEST_CASE(a_checkpoint_under_the_name_of_another_step_is_none, Fixture) {
  const std::string six = save(6), twelve = train::checkpoint_path(run, 12);
  fs::copy(six, twelve);
  std::vector<std::string> warnings;
  const auto found = train::newest_checkpoint(run, [&](const std::string& text) { warnings.push_back(text); });
  BOOST_TEST_REQUIRE(found.has_value());
  BOOST_TEST(found->path == six);
  BOOST_TEST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings[0].find("expected the checkpoint of step 12, found that of step 6") != std::string::npos);
  BOOST_TEST(save(12) == twelve);
  BOOST_TEST(train::read_checkpoint_state(twelve).progress.step == 12);
}

// That what is to replace it cannot be written costs nothing.
BOOST_FIXTURE_TEST_CASE(a_checkpoint_of_another_state_goes_when_the_new_one_is_there, Fixture) {
  const std::string path = save(4);
  config.optimizer.beta1 = 0.5;
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{3000, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  check_error([&] { std::ignore = save(4); }, "File too large");
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  train::verify_checkpoint(path);
  BOOST_TEST(train::read_checkpoint_state(path).config.optimizer.beta1 != 0.5);
  BOOST_TEST(save(4) == path);
  train::verify_checkpoint(path);
  BOOST_TEST(train::read_checkpoint_state(path).config.optimizer.beta1 == 0.5);
  BOOST_TEST(std::distance(fs::directory_iterator(fs::path(path).parent_path()), fs::directory_iterator()) == 1);
}

BOOST_FIXTURE_TEST_CASE(what_a_later_version_wrote_is_not_damaged, Fixture) {
  std::ignore = save(4);
  const std::string newest = save(8), file = newest + "/state.json", manifest = newest + "/MANIFEST.json";
  const auto edit = [](const std::string& path, const std::string& from, const std::string& to) {
    std::string text = ratel::io::read_text_file(path, 1 << 20);
    BOOST_TEST_REQUIRE(text.find(from) != std::string::npos);
    ratel::io::write_file_atomically(path, text.replace(text.find(from), from.size(), to));
  };
  const auto hash = [&] { return ratel::io::sha256_hex(ratel::io::MappedFile::open(file).bytes()); };
  const std::string size = std::to_string(fs::file_size(file)), old_hash = hash();
  edit(file, "\"train.steps\"", "\"train.strides\"");
  edit(manifest, old_hash, hash());
  edit(manifest, "\"size\": " + size, "\"size\": " + std::to_string(fs::file_size(file)));
  const auto found = train::newest_checkpoint(run);
  BOOST_TEST_REQUIRE(found.has_value());
  BOOST_TEST(found->path == newest);
  check_error([&] { train::read_checkpoint_state(newest); }, "train.strides");
}

BOOST_FIXTURE_TEST_CASE(pruning_keeps_the_newest, Fixture) {
  for (const int64_t step : {1, 2, 10, 9}) std::ignore = save(step);
  const std::string later = save(20);  // damaged, say: it was passed over when the run resumed
  train::prune_checkpoints(run, 2, 10);
  BOOST_TEST(steps() == (std::vector<int64_t>{9, 10, 20}), boost::test_tools::per_element());
  train::prune_checkpoints(run, 0, 10);
  BOOST_TEST(steps() == (std::vector<int64_t>{10, 20}), boost::test_tools::per_element());
  std::ignore = save(15);
  train::prune_checkpoints(run, 1, 20, {}, 10);  // up to 10 all stay
  BOOST_TEST(steps() == (std::vector<int64_t>{10, 20}), boost::test_tools::per_element());
  train::prune_checkpoints(run, 1, 20);
  BOOST_TEST(steps() == (std::vector<int64_t>{20}), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(a_full_disk_leaves_what_there_was, Fixture) {
  const std::string older = save(4);
  // The file system refuses to let any file grow beyond 4 KiB, with an error and not a signal.
  const auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  rlimit small = limit;
  small.rlim_cur = 4096;
  ::setrlimit(RLIMIT_FSIZE, &small);
  ratel::ErrorKind kind{};
  try {
    std::ignore = save(8);
  } catch (const ratel::Error& error) {
    kind = error.kind();
  }
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, before);
  BOOST_TEST((kind == ratel::ErrorKind::disk));
  BOOST_TEST(steps() == (std::vector<int64_t>{4}), boost::test_tools::per_element());
  BOOST_TEST(!fs::exists(run + "/checkpoints/step-8.tmp"));
  train::verify_checkpoint(older);
  std::ignore = save(8);
}

BOOST_FIXTURE_TEST_CASE(a_checkpoint_that_no_disk_holds_is_refused_before_it_is_made, Fixture) {
  ratel::nn::ParamStore huge(ratel::DType::f32, 0, ratel::nn::Start::shapes_only);
  std::ignore = huge.add("weight", {int64_t{1} << 30, int64_t{1} << 30}, ratel::nn::constant(0));
  check_error([&] { train::require_space_for_checkpoint(run, huge, optimizer); }, "a checkpoint needs 46116860");
  check_error([&] { train::require_space_for_checkpoint(run, huge, optimizer); },
              " free\nhint: make room, or keep fewer with --train.keep_checkpoints");
  train::require_space_for_checkpoint(run, store, optimizer);
}

BOOST_FIXTURE_TEST_CASE(leftovers_are_removed_and_do_not_count, Fixture) {
  BOOST_TEST(train::is_empty_run(run));
  BOOST_TEST(train::is_empty_run(folder / "nowhere"));
  fs::create_directories(run + "/checkpoints/step-7.tmp/more");
  std::ofstream(run + "/config.toml.tmp") << "half";
  std::ofstream(run + "/lock") << "1";
  BOOST_TEST(train::is_empty_run(run));
  train::remove_leftovers(run);
  BOOST_TEST(!fs::exists(run + "/checkpoints/step-7.tmp"));
  BOOST_TEST(!fs::exists(run + "/config.toml.tmp"));
  std::ofstream(run + "/notes.tmp") << "somebody's";
  BOOST_TEST(!train::is_empty_run(run));
  train::remove_leftovers(run);
  BOOST_TEST(fs::exists(run + "/notes.tmp"));
  fs::remove(run + "/notes.tmp");
  std::ignore = save(7);
  BOOST_TEST(!train::is_empty_run(run));
}

BOOST_FIXTURE_TEST_CASE(one_process_a_run_folder, Fixture) {
  {
    const train::RunLock lock(run);
    check_error([&] { const train::RunLock second(run); },
                ratel::concat_text(run, ": process ", ::getpid(), " is training"));
  }
  const train::RunLock again(run);
  std::ofstream(folder / "file") << "x";
  check_error([&] { const train::RunLock lock(folder / "file"); }, "the run folder cannot be made");
}

BOOST_FIXTURE_TEST_CASE(a_model_is_found_behind_every_kind_of_path, Fixture) {
  ratel::save_model(folder / "model", config.description(std::nullopt), store);
  BOOST_TEST(train::resolve_model_dir(folder / "model") == folder / "model");
  check_error([&] { train::resolve_model_dir(run); }, "found neither config.json nor checkpoints");
  const std::string path = save(4);
  BOOST_TEST(train::resolve_model_dir(path) == path);
  BOOST_TEST(train::resolve_model_dir(run) == path);
  fs::resize_file(path + "/optimizer.safetensors", 9);
  check_error([&] { train::resolve_model_dir(path); }, "optimizer.safetensors: expected");
  check_error([&] { train::resolve_model_dir(folder / "nowhere"); }, "found nothing");
  fs::remove_all(path);
  check_error([&] { train::resolve_model_dir(run); }, "has made no checkpoint yet");
}
