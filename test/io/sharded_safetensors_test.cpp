#include "io/sharded_safetensors.h"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/json.h"
#include "test/io/support.h"

using ratel::DType;
using ratel::ErrorKind;
using ratel::Tensor;
using ratel::io::Json;
using ratel::io::kOneFile;
using ratel::io::parse_shard_index;
using ratel::io::save_weights;
using ratel::io::ShardedSafetensors;
using ratel::io::source_of;
using ratel::io::TensorSource;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

/// `count` tensors t0, t1, ... of 4 floats; all hold `value`.
std::vector<TensorSource> tensors(int count, float value = 1) {
  std::vector<TensorSource> sources;
  for (int i = 0; i < count; ++i)
    sources.push_back(source_of("t" + std::to_string(i), ratel::from_vector(std::vector<float>(4, value), {4})));
  return sources;
}

std::vector<std::string> files_of(const TemporaryFolder& folder) {
  std::vector<std::string> names;
  for (const std::string& path : ratel::io::paths_in(folder / "")) names.push_back(fs::path(path).filename());
  std::ranges::sort(names);
  return names;
}

const std::vector<std::string> kThree{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                      "model-00003-of-00003.safetensors", "model.safetensors.index.json"};

void check_holds(const TemporaryFolder& folder, int count, float value) {
  const auto weights = ShardedSafetensors::open_folder(folder / "");
  BOOST_TEST(weights.entries().size() == static_cast<size_t>(count));
  BOOST_TEST(weights.bytes() == static_cast<uint64_t>(count) * 16);
  for (int i = 0; i < count; ++i)
    BOOST_TEST(ratel::to_vector<float>(weights.tensor("t" + std::to_string(i))) == std::vector<float>(4, value));
}

/// Three shards of five tensors, and their index as JSON, to be changed.
struct Shards {
  TemporaryFolder folder;
  std::string path = folder / "model.safetensors.index.json";
  Json index;
  Shards() {
    save_weights(folder / "", tensors(5), 32);
    index = ratel::io::read_json_file(path);
  }
  void write(const Json& json) const { (void)folder.file("model.safetensors.index.json", json.dump()); }
  void check_refused(std::string_view part) const {
    check_error(ErrorKind::input, part, [&] { (void)ShardedSafetensors::open_folder(folder / ""); });
    check_error(ErrorKind::input, folder / "", [&] { (void)ShardedSafetensors::open_folder(folder / ""); });
  }
  /// With one tensor said to be elsewhere.
  [[nodiscard]] Json with(std::string_view tensor, const Json& file) const {
    Json changed = index, map = index.at("weight_map");
    map.set(tensor, file);
    changed.set("weight_map", map);
    return changed;
  }
};

void check_index_refused(std::string_view text, std::string_view part) {
  check_error(ErrorKind::input, part, [&] { (void)parse_shard_index(text, "f"); });
  check_error(ErrorKind::input, "f:", [&] { (void)parse_shard_index(text, "f"); });
}

std::string mapped(std::string_view name, std::string_view file) {
  return Json::object({{"weight_map", Json::object({{std::string(name), file}})}}).dump();
}

}  // namespace

BOOST_AUTO_TEST_CASE(small_weights_are_one_file) {
  const TemporaryFolder folder;
  save_weights(folder / "", tensors(5, 2));
  BOOST_TEST(files_of(folder) == std::vector<std::string>{"model.safetensors"});
  check_holds(folder, 5, 2);
  BOOST_TEST(ShardedSafetensors::open_folder(folder / "").path() == folder / "" + "/model.safetensors");
}

BOOST_AUTO_TEST_CASE(shards_are_filled_in_order) {
  const TemporaryFolder folder;
  save_weights(folder / "", tensors(5, 3), 32);  // two of 16 bytes each
  BOOST_TEST(files_of(folder) == kThree);
  check_holds(folder, 5, 3);
  const Json index = ratel::io::read_json_file(folder / "model.safetensors.index.json");
  BOOST_TEST(index.at("metadata").at("total_size").as_int() == 80);
  BOOST_TEST(index.at("weight_map").at("t1").as_string() == kThree[0]);
  BOOST_TEST(index.at("weight_map").at("t4").as_string() == kThree[2]);
  save_weights(folder / "", tensors(2), 1);  // each larger than a shard
  BOOST_TEST(files_of(folder).size() == 3u);
  check_error(ErrorKind::usage, "expected shards of at least 1 byte",
              [&] { save_weights(folder / "", tensors(1), 0); });
}

BOOST_AUTO_TEST_CASE(a_save_replaces_whatever_was_there_and_leaves_nothing_of_it) {
  const TemporaryFolder folder;
  (void)folder.file("notes-00001-of-00002.safetensors", "mine");
  for (const uint64_t first : {kOneFile, uint64_t{32}, uint64_t{16}})
    for (const uint64_t second : {kOneFile, uint64_t{32}, uint64_t{16}}) {
      save_weights(folder / "", tensors(5, 1), first);
      save_weights(folder / "", tensors(5, 2), second);
      check_holds(folder, 5, 2);
      const size_t shards = second == kOneFile ? 1 : second == 32 ? 4 : 6;  // the index is one more
      BOOST_TEST(files_of(folder).size() == shards + 1);
    }
  BOOST_TEST(content_of(folder / "notes-00001-of-00002.safetensors") == "mine");
}

BOOST_AUTO_TEST_CASE(a_save_that_does_not_succeed_keeps_what_was_there) {
  for (const uint64_t size : {kOneFile, uint64_t{32}}) {
    const TemporaryFolder folder;
    save_weights(folder / "", tensors(5, 1), size);
    auto bad = tensors(5, 2);
    bad[4].read = []() -> Tensor { throw ratel::Error("no more", ErrorKind::input); };
    const auto before = files_of(folder);
    for (const uint64_t other : {kOneFile, uint64_t{32}, uint64_t{16}}) {
      check_error(ErrorKind::input, "no more", [&] { save_weights(folder / "", bad, other); });
      BOOST_TEST(files_of(folder) == before);
      check_holds(folder, 5, 1);
    }
  }
}

BOOST_AUTO_TEST_CASE(shards_of_two_saves_are_never_one_model) {
  // What a save of the same number of shards leaves when it is cut off anywhere after the first rename.
  const Shards shards;
  fs::remove(shards.path);
  shards.check_refused("no such file, and no model.safetensors.index.json beside it");
  // The index goes before the first shard does: here the last cannot be put in its place.
  save_weights(shards.folder / "", tensors(5, 1), 32);
  fs::remove(shards.folder / kThree[2]);
  fs::create_directories(shards.folder / kThree[2] + "/taken");
  check_error(ErrorKind::disk, kThree[2], [&] { save_weights(shards.folder / "", tensors(5, 2), 32); });
  BOOST_TEST(!fs::exists(shards.path));
  fs::remove_all(shards.folder / kThree[2]);
  // Remains of a save that was cut off before go with the next.
  for (const uint64_t size : {uint64_t{1} << 20, uint64_t{32}}) {
    for (const char* name :
         {"model-00001-of-00009.safetensors", "model-00001-of-00009.safetensors.part",
          "model-00001-of-00009.safetensors.part.tmp", "model.safetensors.tmp", "model.safetensors.part",
          "model.safetensors.part.tmp", "model.safetensors.index.json.tmp"})
      (void)shards.folder.file(name, "x");
    save_weights(shards.folder / "", tensors(5, 4), size);
    BOOST_TEST(files_of(shards.folder) == (size == 32 ? kThree : std::vector<std::string>{"model.safetensors"}));
    check_holds(shards.folder, 5, 4);
  }
  // The real name of what a kill leaves: the file that is being written while a tensor is read.
  auto looking = tensors(5, 5);
  std::vector<std::string> during;
  looking[4].read = [&, read = looking[4].read] {
    during = files_of(shards.folder);
    return read();
  };
  save_weights(shards.folder / "", looking, 32);
  BOOST_TEST(std::ranges::count(during, "model-00003-of-00003.safetensors.part.tmp") == 1);
}

BOOST_AUTO_TEST_CASE(sources_are_read_one_at_a_time_in_order) {
  const TemporaryFolder folder;
  std::vector<int> order;
  std::weak_ptr<ratel::Storage> last;
  bool one_at_a_time = true;
  std::vector<TensorSource> sources;
  for (int i = 0; i < 4; ++i)
    sources.push_back({"t" + std::to_string(i), DType::f32, {4}, [&, i] {
                         one_at_a_time = one_at_a_time && last.expired();
                         Tensor made = ratel::empty({4});
                         last = made.storage();
                         order.push_back(i);
                         return made;
                       }});
  save_weights(folder / "", sources, 32);
  BOOST_TEST(order == (std::vector<int>{0, 1, 2, 3}));
  BOOST_TEST(one_at_a_time);
  sources[0].shape = {5};
  check_error(ErrorKind::usage, "tensor \"t0\": expected f32 (5), its source gave f32 (4)",
              [&] { save_weights(folder / "", sources, 32); });
}

BOOST_AUTO_TEST_CASE(all_tensors_that_are_elsewhere_are_in_one_error) {
  const Shards shards;
  shards.write(shards.with("t0", kThree[1]));
  shards.check_refused(
      "the shards do not hold what the index says: 1 missing: t0 (of model-00002-of-00003.safetensors); 1 unexpected: "
      "t0 "
      "(of model-00001-of-00003.safetensors)");
  shards.write(shards.with("t9", kThree[1]));
  shards.check_refused("1 missing: t9 (of model-00002-of-00003.safetensors)");
  Json less = shards.index, map = Json::object();
  for (const auto& [name, file] : shards.index.at("weight_map").as_object())
    if (name != "t1" && name != "t3") map.append(name, file);
  less.set("weight_map", map);
  shards.write(less);
  shards.check_refused(
      "2 unexpected: t1 (of model-00001-of-00003.safetensors), t3 (of model-00002-of-00003.safetensors)");
}

BOOST_AUTO_TEST_CASE(total_sizes) {
  const Shards shards;
  const auto with_size = [&](const Json& size) {
    Json changed = shards.index;
    changed.set("metadata", Json::object({{"total_size", size}}));
    shards.write(changed);
  };
  with_size(81);
  shards.check_refused("metadata.total_size; expected 80 bytes as in the shards, found 81");
  with_size(-1);
  shards.check_refused("metadata.total_size: expected a number of bytes, found -1");
  with_size("80");
  shards.check_refused("metadata.total_size: expected a number");
  with_size(80.0);
  check_holds(shards.folder, 5, 1);
  Json without = shards.index;
  without.set("metadata", Json::object());
  shards.write(without);
  check_holds(shards.folder, 5, 1);
}

BOOST_AUTO_TEST_CASE(files_that_are_not_there_or_elsewhere) {
  const Shards shards;
  shards.write(shards.with("t0", "model-00009-of-00009.safetensors"));
  shards.check_refused("No such file");
  shards.write(shards.index);
  const TemporaryFolder other;
  fs::rename(shards.folder / kThree[1], other / "secret");
  fs::create_symlink(other / "secret", shards.folder / kThree[1]);
  shards.check_refused("expected a file of this folder, found a link that leads out of it");
}

BOOST_AUTO_TEST_CASE(indices_that_are_none) {
  check_index_refused("", "f:");
  check_index_refused("[]", "f:");
  check_index_refused("{}", "f:2: expected a member \"weight_map\", found none");
  check_index_refused(R"({"weight_map": []})", "weight_map: expected an object");
  check_index_refused(R"({"weight_map": {"a": 1}})", "weight_map.a: expected a string");
  check_index_refused(R"({"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}})", "the key \"a\" appears twice");
  check_index_refused(R"({"weight_map": {}, "weight_map": {}})", "the key \"weight_map\" appears twice");
  check_index_refused(R"({"metadata": 3, "weight_map": {}})", "metadata: expected an object");
  check_index_refused(mapped("a", "../x.safetensors"), R"(the file name "../x.safetensors" contains "..")");
  check_index_refused(mapped("a", "/x.safetensors"), "is an absolute path");
  check_index_refused(mapped("a", "sub/x.safetensors"), "is not a plain file name");
  check_index_refused(mapped("a", "sub\\x.safetensors"), "is not a plain file name");
  check_index_refused(mapped("a", "x.bin"), "does not end in .safetensors");
  check_index_refused(mapped("a", ""), "is empty");
  check_index_refused(mapped("a/../b", "x.safetensors"), R"(the tensor name "a/../b" contains "..")");
  check_index_refused(mapped("", "x.safetensors"), "the tensor name \"\" is empty");
  std::string many = R"({"weight_map": {)";
  for (int i = 0; i <= 10'000; ++i)
    many += ratel::concat_text(i == 0 ? "" : ",", '"', i, R"(":")", i, R"(.safetensors")");
  check_index_refused(many + "}}", "too many files; expected at most 10000");
}

BOOST_AUTO_TEST_CASE(files_cut_short_anywhere_are_refused) {
  const Shards shards;
  const std::string index = content_of(shards.path);
  for (size_t length = 0; length + 1 < index.size(); ++length) {  // the last byte is a line break
    (void)shards.folder.file("model.safetensors.index.json", std::string_view(index).substr(0, length));
    shards.check_refused(shards.path + ":");
  }
  (void)shards.folder.file("model.safetensors.index.json", index);
  const std::string shard = content_of(shards.folder / kThree[1]);
  for (size_t length = 0; length < shard.size(); ++length) {
    (void)shards.folder.file(kThree[1], std::string_view(shard).substr(0, length));
    shards.check_refused(kThree[1] + ":");
  }
}

BOOST_AUTO_TEST_CASE(long_files_cut_short_at_random_places) {
  const TemporaryFolder folder;
  std::vector<TensorSource> sources;
  for (int i = 0; i < 200; ++i) sources.push_back(source_of("a.long.name." + std::to_string(i), ratel::empty({100})));
  save_weights(folder / "", sources, 20'000);
  std::mt19937 random(1);
  for (const char* name : {"model.safetensors.index.json", "model-00002-of-00004.safetensors"}) {
    const std::string whole = content_of(folder / name);
    BOOST_TEST(whole.size() > 10'000u);
    for (int i = 0; i < 200; ++i) {
      (void)folder.file(name, std::string_view(whole).substr(0, random() % (whole.size() - 1)));
      check_error(ErrorKind::input, std::string(name) + ":",
                  [&] { (void)ShardedSafetensors::open_folder(folder / ""); });
    }
    (void)folder.file(name, whole);
  }
  BOOST_TEST(ShardedSafetensors::open_folder(folder / "").entries().size() == 200u);
}
