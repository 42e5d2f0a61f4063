#include "models/tokenizer_file.h"

#include <filesystem>

#include "io/file.h"
#include "models/model_folder.h"
#include "test/io/support.h"
#include "test/text/support.h"

using ratel::ErrorKind;
using ratel::ModelDescription;
using ratel::Tokenizer;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::golden_tokenizer;
namespace fs = std::filesystem;

namespace {

/// A folder of a tiny model with this tokenizer.
struct Fixture {
  ratel::test::TemporaryFolder folder;
  Tokenizer llama = Tokenizer::open(golden_tokenizer("llama.model"));

  [[nodiscard]] std::string save(const std::string& name, const std::optional<Tokenizer>& tokenizer,
                                 int64_t vocab_size = 704) const {
    const ModelDescription description{{vocab_size, 1, 4, 1}, tokenizer, {}};
    ratel::nn::ParamStore store(ratel::DType::f32, 5);
    const ratel::RatPlus model(ratel::nn::Scope(store), description.config);
    save_model(folder / name, description, store);
    return folder / name;
  }
  static void replace(const std::string& path, std::string_view text) { ratel::io::write_file_atomically(path, text); }
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(a_model_folder_carries_its_tokenizer, Fixture) {
  const std::string model = save("m", llama);
  BOOST_TEST(content_of(model + "/tokenizer.model") == llama.file_bytes());
  const auto loaded = ratel::load_model(model);
  BOOST_TEST_REQUIRE(loaded.description.tokenizer.has_value());
  BOOST_TEST((*loaded.description.tokenizer == llama && ratel::load_tokenizer(model) == llama));
  BOOST_TEST(loaded.description.tokenizer->name() == model + "/tokenizer.model");
  const std::string again = save("again", loaded.description.tokenizer);  // from the copy
  BOOST_TEST((ratel::load_tokenizer(again) == llama));

  BOOST_TEST((ratel::load_tokenizer(save("bytes", Tokenizer::bytes())) == Tokenizer::bytes()));
  BOOST_TEST(!ratel::load_tokenizer(save("none", std::nullopt)).has_value());
  BOOST_TEST(!fs::exists(folder / "bytes/tokenizer.model"));
}

BOOST_FIXTURE_TEST_CASE(a_vocabulary_may_be_larger_but_not_smaller, Fixture) {
  check_error(ErrorKind::usage, "needs 700 words, found vocab_size 699",
              [&] { static_cast<void>(save("m", llama, 699)); });
  BOOST_CHECK_NO_THROW(save("m", llama, 700));
}

BOOST_FIXTURE_TEST_CASE(another_tokenizer_is_refused, Fixture) {
  const std::string model = save("m", llama), file = model + "/tokenizer.model", config = model + "/config.json";
  const auto check_refused = [&](const std::string& part) {
    for (const auto& load : {std::function<void()>([&] { (void)ratel::load_model(model); }),
                             std::function<void()>([&] { (void)ratel::load_tokenizer(model); })})
      check_error(ErrorKind::input, part, load);
  };
  replace(file, content_of(golden_tokenizer("unigram.model")));
  check_refused(file + ": expected SHA-256 " + llama.hash() + " as in config.json, found ");
  replace(file, llama.file_bytes().substr(0, 1000));
  check_refused(file + ":");
  fs::remove(file);
  check_refused(file);
  fs::create_symlink(golden_tokenizer("llama.model"), file);
  check_refused(file + ": expected a file of this folder, found a link that leads out of it");
  fs::remove(file);
  replace(file, llama.file_bytes());
  BOOST_CHECK_NO_THROW((void)ratel::load_model(model));

  const std::string text = content_of(config);
  const auto check_config = [&](const std::string& from, const std::string& to, const std::string& part) {
    std::string other = text;
    BOOST_REQUIRE(other.find(from) != std::string::npos);
    replace(config, other.replace(other.find(from), from.size(), to));
    check_refused(part);
  };
  check_config("\"sentencepiece\"", "\"wordpiece\"", R"(expected "sentencepiece", found "wordpiece")");
  check_config("\"sha256\"", "\"sha\"", R"(unknown: "sha" (the nearest is "sha256"))");
  check_config(llama.hash(), "00", "expected SHA-256 00 as in config.json");
}

BOOST_FIXTURE_TEST_CASE(tokenizers_are_told_apart_in_messages, Fixture) {
  BOOST_TEST(ratel::described(std::nullopt) == "none");
  BOOST_TEST(ratel::described(Tokenizer::bytes()) == "bytes");
  BOOST_TEST(ratel::described(llama) == llama.name() + " (SHA-256 " + llama.hash().substr(0, 16) + "...)");
}
