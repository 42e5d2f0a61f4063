#include "models/model_folder.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>

#include "autograd/gradient.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "test/support/compare.h"
#include "test/text/support.h"

using ratel::DType;
using ratel::Error;
using ratel::ErrorKind;
using ratel::load_model;
using ratel::LoadedModel;
using ratel::ModelDescription;
using ratel::ModelPattern;
using ratel::RatPlus;
using ratel::Recurrence;
using ratel::save_model;
using ratel::Tensor;
using ratel::Tokenizer;
using ratel::io::Json;
using ratel::nn::ParamStore;
using ratel::nn::Scope;
using ratel::nn::Start;
namespace test = ratel::test;

namespace {

const ModelDescription kDescription{{11, 1, 4, 1}, std::nullopt, ModelPattern::uniform({8, 2, 1})};

ParamStore make_store(const ModelDescription& description, DType dtype = DType::f32) {
  ParamStore store(dtype, 5);
  const RatPlus model(Scope(store), description.config);
  return store;
}

/// Without waiting for the disk, as there are thousands of them.
void write_file(const std::string& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  BOOST_REQUIRE(out.good());
}

/// A folder with a model in it, removed at the end.
class Folder {
 public:
  explicit Folder(const std::string& name, const ModelDescription& description = kDescription, DType dtype = DType::f32)
      : path_(std::string(RATEL_BINARY_DIR "/test_model_folder_") + name) {
    std::filesystem::remove_all(path_);
    save_model(path_, description, make_store(description, dtype));
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string config() const { return path_ + "/config.json"; }
  [[nodiscard]] std::string weights() const { return path_ + "/model.safetensors"; }

  /// The tensors of the file, to be changed and written back.
  [[nodiscard]] std::vector<ratel::NamedTensor> tensors() const {
    auto result = ratel::io::SafetensorsFile::open(weights()).tensors();
    for (auto& [name, tensor] : result) tensor = clone(tensor);
    return result;
  }
  void write(const std::vector<ratel::NamedTensor>& tensors) const { ratel::io::save_safetensors(weights(), tensors); }
  void write_config(std::string_view text) const { write_file(config(), text); }

 private:
  std::string path_;
};

/// Loading throws Error (input): one line that starts with the path and contains the part.
void check_refused(const Folder& folder, const std::string& path, const std::string& part) {
  try {
    (void)load_model(folder.path());
    BOOST_ERROR("expected an error with \"" + part + '"');
  } catch (const Error& error) {
    const std::string message = error.what();
    BOOST_TEST((error.kind() == ErrorKind::input), message);
    BOOST_TEST(message.starts_with(path + ':'), message);
    BOOST_TEST(message.find('\n') == std::string::npos, message);
    BOOST_TEST(message.find(part) != std::string::npos, message + " lacks " + part);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(models_there_and_back) {
  const ModelPattern hybrid{{{{1, 0, 0}, {-1, 4, 2}}, {{8, 0, 0}}}};
  const ModelDescription baseline{{257, 2, 8, 2, Recurrence::none, 1e-5, 5e5}, Tokenizer::bytes(), {}};
  const ModelDescription mixed{{300, 2, 8, 2}, Tokenizer::bytes(), hybrid};
  for (const auto& [description, dtype] :
       {std::pair{kDescription, DType::f32}, {baseline, DType::f64}, {mixed, DType::bf16}}) {
    const Folder folder("round_trip", description, dtype);
    const ParamStore store = make_store(description, dtype);
    for (const DType compute : {DType::f32, DType::f64}) {
      const LoadedModel loaded = load_model(folder.path(), compute);
      BOOST_TEST((loaded.description == description));
      BOOST_TEST((loaded.model.config == description.config));
      BOOST_TEST((loaded.store.dtype() == compute));
      BOOST_REQUIRE(loaded.store.parameters().size() == store.parameters().size());
      for (size_t i = 0; i < store.parameters().size(); ++i) {
        const auto& [path, tensor] = loaded.store.parameters()[i];
        BOOST_TEST(path == store.parameters()[i].name);
        BOOST_TEST(needs_grad(tensor));
        test::check_identical(tensor, to(detach(store.parameters()[i].tensor), compute), path);
      }
      BOOST_TEST(is_same_tensor(loaded.model.norm.weight, loaded.store.at("norm.weight")));
    }
  }
}

BOOST_AUTO_TEST_CASE(saving_again_replaces_the_model_and_leaves_nothing_else) {
  const Folder folder("replace");
  const ModelDescription other{{12, 2, 4, 1}, std::nullopt, {}};
  save_model(folder.path(), other, make_store(other));
  BOOST_TEST((load_model(folder.path()).description == other));
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++files;
  BOOST_TEST(files == 2U);
}

namespace {

/// What is in a folder, by name.
std::map<std::string, std::string> files_in(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const std::string& path : ratel::io::paths_in(folder))
    files[std::filesystem::path(path).filename()] = ratel::io::read_text_file(path, 1 << 20);
  return files;
}

/// A save that is interrupted when it reads the last parameter, all others being written.
void interrupted_save(const std::string& folder, const ModelDescription& description, uint64_t shard_bytes) {
  const ParamStore store = make_store(description);
  std::vector<ratel::io::TensorSource> sources;
  for (const auto& [path, tensor] : store.parameters()) sources.push_back(ratel::io::source_of(path, detach(tensor)));
  sources.back().read = []() -> Tensor { throw std::runtime_error("interrupted"); };
  BOOST_CHECK_THROW(save_model(folder, description, DType::f32, sources, shard_bytes), std::runtime_error);
}

}  // namespace

BOOST_AUTO_TEST_CASE(an_interrupted_save_keeps_the_model_and_leaves_nothing) {
  const auto tokenizer = [](const char* name) { return Tokenizer::open(test::golden_tokenizer(name)); };
  const ModelDescription before{{704, 1, 4, 1}, tokenizer("llama.model"), {}};
  const ModelDescription after{{704, 1, 4, 2}, tokenizer("unigram.model"), {}};
  for (const uint64_t shards : {uint64_t{1} << 20, uint64_t{300}}) {
    const Folder folder("interrupted", before);
    save_model(folder.path(), before, make_store(before), shards);
    const auto files = files_in(folder.path());
    for (const uint64_t new_shards : {uint64_t{1} << 20, uint64_t{300}}) {
      interrupted_save(folder.path(), after, new_shards);
      BOOST_TEST((files_in(folder.path()) == files));
    }
    BOOST_TEST((load_model(folder.path()).description == before));
    const std::string fresh = folder.path() + "/above/fresh";
    interrupted_save(fresh, after, shards);
    BOOST_TEST(!std::filesystem::exists(folder.path() + "/above"));
    std::filesystem::create_directories(fresh);
    interrupted_save(fresh, after, shards);
    BOOST_TEST(std::filesystem::is_empty(fresh));
  }
}

BOOST_AUTO_TEST_CASE(a_save_that_ends_between_two_renames_leaves_no_mixture) {
  const Folder folder("between");
  std::filesystem::remove(folder.weights());
  std::filesystem::create_directories(folder.weights() + "/taken");  // where the new weights cannot be put
  ModelDescription other = kDescription;
  other.config.heads = 2;
  test::check_error([&] { save_model(folder.path(), other, make_store(other)); }, "model.safetensors: not renamed");
  check_refused(folder, folder.config(), "");
}

BOOST_AUTO_TEST_CASE(a_model_of_several_shards) {
  const Folder folder("shards");
  const ParamStore store = make_store(kDescription);
  save_model(folder.path(), kDescription, store, 300);
  BOOST_TEST(!std::filesystem::exists(folder.weights()));
  const std::string index = folder.path() + "/model.safetensors.index.json";
  const auto opened = ratel::open_model(folder.path());
  BOOST_TEST(opened.weights.path() == index);
  BOOST_TEST(opened.weights.files().size() >= 3U);
  BOOST_TEST((opened.description == kDescription));
  const LoadedModel loaded = load_model(folder.path());
  for (const auto& [path, tensor] : loaded.store.parameters())
    test::check_identical(detach(tensor), detach(store.at(path)), path);

  // What is missing, unexpected or misshaped in the shards together is in one error too.
  std::vector<ratel::io::TensorSource> tensors;
  for (const auto& [path, tensor] : store.parameters())
    if (path != "norm.weight") tensors.push_back(ratel::io::source_of(path, detach(tensor)));
  tensors.push_back(ratel::io::source_of("head.weight", ratel::zeros({2})));
  tensors.front() = ratel::io::source_of(tensors.front().name, ratel::zeros({3}));
  ratel::io::save_weights(folder.path(), tensors, 300);
  check_refused(folder, index,
                "1 missing: norm.weight; 1 unexpected: head.weight; 1 misshaped: embedding.weight (expected (11, 4), "
                "found (3))");
  save_model(folder.path(), kDescription, store);
  BOOST_TEST(std::filesystem::exists(folder.weights()));
  BOOST_TEST(!std::filesystem::exists(index));
}

BOOST_AUTO_TEST_CASE(parameters_that_are_read_one_at_a_time) {
  const Folder folder("streamed");
  const ParamStore store = make_store(kDescription);
  std::vector<ratel::io::TensorSource> sources;
  for (const auto& [path, tensor] : store.parameters())
    sources.push_back(
        {path, DType::bf16, tensor.shape(), [tensor = tensor] { return to(detach(tensor), DType::bf16); }});
  save_model(folder.path(), kDescription, DType::bf16, sources);
  BOOST_TEST((ratel::open_model(folder.path()).dtype == DType::bf16));
  test::check_identical(detach(load_model(folder.path(), DType::bf16).store.at("norm.weight")), sources.back().read(),
                        "norm.weight");
  test::check_error([&] { save_model(folder.path(), kDescription, DType::f32, sources); },
                    "save_model: embedding.weight: expected f32, found bf16");
}

BOOST_AUTO_TEST_CASE(only_what_belongs_together_is_saved) {
  const Folder folder("misuse");
  ModelDescription other = kDescription;
  other.config.layers = 2;
  test::check_error([&] { save_model(folder.path(), other, make_store(kDescription)); },
                    "save_model: the tensors are not the model's: 6 missing: layers.1.mixer.norm.weight");
  other.config.heads = 3;
  test::check_error([&] { save_model(folder.path(), other, make_store(kDescription)); }, "3 heads do not divide");
  other = kDescription;
  other.tokenizer = Tokenizer::bytes();
  test::check_error([&] { save_model(folder.path(), other, make_store(kDescription)); }, "tokenizer bytes needs 257");
  test::check_error([&] { (void)load_model(folder.path(), DType::i64); }, "load_model: expected a float dtype");
  BOOST_TEST((load_model(folder.path()).description == kDescription));
  try {
    save_model(folder.config() + "/below", kDescription, make_store(kDescription));
    BOOST_ERROR("no error");
  } catch (const Error& error) {
    BOOST_TEST((error.kind() == ErrorKind::disk));
  }
}

BOOST_AUTO_TEST_CASE(missing_files_are_named) {
  const Folder folder("missing");
  std::filesystem::remove(folder.weights());
  check_refused(folder, folder.weights(), "");
  std::filesystem::remove(folder.config());
  check_refused(folder, folder.config(), "");
  const std::string checkpoints = folder.path() + "/checkpoints";
  std::filesystem::create_directory(checkpoints);
  test::check_error(
      [&] { (void)load_model(folder.path()); },
      "/config.json: expected a file, found none\nhint: a run's models are the folders in " + checkpoints);
  std::filesystem::remove(checkpoints);
  std::filesystem::remove(folder.path());
  check_refused(folder, folder.config(), "");
}

BOOST_AUTO_TEST_CASE(files_cut_short_anywhere_are_refused) {
  const Folder folder("truncated");
  const std::string config = ratel::io::read_text_file(folder.config(), 1 << 20);
  for (size_t size = 0; size + 1 < config.size(); ++size) {  // the last byte is a line break
    folder.write_config(std::string_view(config).substr(0, size));
    check_refused(folder, folder.config(), "");
  }
  folder.write_config(config);
  const std::string weights = ratel::io::read_text_file(folder.weights(), 1 << 20);
  for (size_t size = 0; size < weights.size(); ++size) {
    write_file(folder.weights(), std::string_view(weights).substr(0, size));
    check_refused(folder, folder.weights(), "");
  }
  write_file(folder.weights(), weights + 'x');
  check_refused(folder, folder.weights(), "");
  write_file(folder.weights(), weights);
  BOOST_TEST((load_model(folder.path()).description == kDescription));
}

BOOST_AUTO_TEST_CASE(every_wrong_member_of_config_json_is_named) {
  const Folder folder("config");
  const Json good = ratel::io::read_json_file(folder.config());
  const auto refused = [&](const std::string& key, const Json& value, const std::string& part) {
    Json bad = good;
    bad.set(key, value);
    folder.write_config(bad.dump());
    check_refused(folder, folder.config(), part);
  };
  for (const auto& [key, value] : good.as_object()) {
    if (key != "adapted_pattern") {
      Json bad = Json::object();
      for (const auto& [name, kept] : good.as_object())
        if (name != key) bad.set(name, kept);
      folder.write_config(bad.dump());
      check_refused(folder, folder.config(), key);
      refused(key, {}, key);
    }
    refused(key, true, key);
  }
  refused("format_version", 2, "expected format_version 1, found 2");
  refused("architecture", "llama", R"(expected architecture "rat_plus", found "llama")");
  refused("dtype", "i64", R"(expected "f64", "f32" or "bf16", found "i64")");
  refused("tokenizer", "words", R"(expected "bytes", "none" or an object, found "words")");
  refused("tokenizer", "bytes", "the tokenizer bytes needs 257 words, found vocab_size 11");
  refused("adapted_patern", 1, R"(unknown: "adapted_patern" (the nearest is "adapted_pattern"))");
  refused("adapted_pattern", to_json(ModelPattern{{{{}}, {{}}}}), "expected patterns for 1 or 1 layers, found 2");
  Json model = good.at("model");
  model.set("heads", 3);
  refused("model", model, "model: rat_plus: 3 heads do not divide 4 channels");
  model = good.at("model");
  model.set("width", 3);
  refused("model", model, "model: unknown: \"width\"");
  folder.write_config("[]");
  check_refused(folder, folder.config(), "object");
}

BOOST_AUTO_TEST_CASE(all_tensors_that_do_not_fit_are_in_one_error) {
  const Folder folder("tensors");
  auto tensors = folder.tensors();
  tensors.erase(tensors.begin());             // embedding.weight
  tensors.back().tensor = ratel::zeros({5});  // norm.weight
  tensors.push_back({"head.weight", ratel::zeros({11, 4})});
  folder.write(tensors);
  check_refused(
      folder, folder.weights(),
      "1 missing: embedding.weight; 1 unexpected: head.weight; 1 misshaped: norm.weight (expected (4), found (5))");
}

BOOST_AUTO_TEST_CASE(dtypes_are_those_config_json_says) {
  const Folder folder("dtypes");
  auto tensors = folder.tensors();
  for (const DType dtype : {DType::f64, DType::i32}) {
    auto other = tensors;
    other[2].tensor = ratel::zeros(tensors[2].tensor.shape(), dtype);
    folder.write(other);
    check_refused(folder, folder.weights(),
                  ratel::concat_text(tensors[2].name, ": expected f32 as in config.json, found ", dtype));
  }
}

BOOST_AUTO_TEST_CASE(sizes_are_compared_before_memory_is_asked_for) {
  const Folder folder("huge");
  Json config = ratel::io::read_json_file(folder.config());
  Json model = config.at("model");
  model.set("channels", 1 << 20);
  model.set("heads", 1 << 10);
  model.set("vocab_size", int64_t{1} << 31);
  config.set("model", model);
  folder.write_config(config.dump());
  check_refused(folder, folder.weights(), "embedding.weight (expected (2147483648, 1048576), found (11, 4))");
}

BOOST_AUTO_TEST_CASE(a_model_larger_than_the_memory_is_refused) {
  const Folder folder("huge");
  const ModelDescription huge{{int64_t{1} << 31, 1, 1024, 1}, std::nullopt, {}};
  ParamStore shapes(DType::f32, 0, Start::shapes_only);
  const RatPlus model(Scope(shapes), huge.config);
  Json header = Json::object();
  int64_t bytes = 0;
  for (const auto& [name, tensor] : shapes.parameters()) {
    const int64_t end = bytes + tensor.numel() * 4;
    header.set(name, Json::object({{"dtype", "F32"},
                                   {"shape", Json::array_of(tensor.shape().dims())},
                                   {"data_offsets", Json::array_of(std::vector<int64_t>{bytes, end})}}));
    bytes = end;
  }
  const std::string text = header.dump();
  const auto length = static_cast<uint64_t>(text.size());
  write_file(folder.weights(), std::string(reinterpret_cast<const char*>(&length), 8) + text);
  std::error_code error;  // 8 TiB without a block on the disk, where the file system has such files
  std::filesystem::resize_file(folder.weights(), 8 + length + static_cast<uint64_t>(bytes), error);
  if (error) {
    BOOST_TEST_MESSAGE("skipped: " << error.message());
    return;
  }
  Json config = ratel::io::read_json_file(folder.config());
  config.set("model", to_json(huge.config));
  config.set("adapted_pattern", to_json(ModelPattern{}));
  folder.write_config(config.dump());
  try {
    load_model(folder.path());
    BOOST_ERROR("no error");
  } catch (const Error& e) {
    BOOST_TEST((e.kind() == ErrorKind::memory));
    BOOST_TEST(std::string_view(e.what()).find(": weights of 2199037938688 parameters need 8388664 MiB") !=
                   std::string_view::npos,
               e.what());
  }
}
