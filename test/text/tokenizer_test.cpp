#include "text/tokenizer.h"

#include <boost/test/unit_test.hpp>
#include <thread>

#include "io/json.h"
#include "io/report.h"
#include "test/io/support.h"
#include "test/text/support.h"

using ratel::Encoder;
using ratel::ErrorKind;
using ratel::Part;
using ratel::Tokenizer;
using ratel::TokenizerKind;
using ratel::io::Json;
using ratel::test::Chance;
using ratel::test::golden_tokenizer;
using ratel::test::random_text;

namespace {

using Ids = std::vector<int64_t>;

Ids ids_of(const Json& json) {
  Ids ids;
  for (const Json& id : json.as_array()) ids.push_back(id.as_int());
  return ids;
}

std::vector<Tokenizer> lossless() {
  return {Tokenizer::bytes(), Tokenizer::open(golden_tokenizer("llama.model")),
          Tokenizer::open(golden_tokenizer("unigram.model"))};
}

}  // namespace

BOOST_AUTO_TEST_CASE(models_say_what_they_are) {
  const Tokenizer bytes = Tokenizer::bytes(), llama = Tokenizer::open(golden_tokenizer("llama.model")),
                  lossy = Tokenizer::open(golden_tokenizer("lossy.model"));
  BOOST_TEST((bytes.kind() == TokenizerKind::bytes && llama.kind() == TokenizerKind::sentencepiece));
  BOOST_TEST(bytes.name() == "bytes");
  BOOST_TEST(llama.name() == golden_tokenizer("llama.model"));
  BOOST_TEST(bytes.vocab_size() == 257);
  BOOST_TEST(llama.vocab_size() == 700);
  BOOST_TEST(lossy.vocab_size() == 200);
  BOOST_TEST(bytes.eos().value() == 256);
  BOOST_TEST(llama.eos().value() == 2);
  BOOST_TEST(bytes.hash().empty());
  BOOST_TEST(llama.hash().size() == 64);
  BOOST_TEST(llama.file_bytes() == ratel::test::content_of(golden_tokenizer("llama.model")));
  BOOST_TEST((bytes.lossless() && llama.lossless() && !lossy.lossless()));
  BOOST_TEST((llama == Tokenizer::from_model(std::string(llama.file_bytes()), "copy") && !(llama == lossy)));
  BOOST_TEST((bytes == Tokenizer::bytes() && !(bytes == llama)));
}

BOOST_AUTO_TEST_CASE(ids_and_texts_are_those_of_the_python_package) {
  const Json expected = ratel::io::read_json_file(golden_tokenizer("expected.json"));
  for (const std::string name : {"llama", "unigram", "lossy"}) {
    const Tokenizer tokenizer = Tokenizer::open(golden_tokenizer(name + ".model"));
    Encoder encoder(tokenizer);
    const Json& cases = *expected.find(name);
    BOOST_TEST(cases.find("encode")->as_array().size() >= 50);
    for (const Json& one : cases.find("encode")->as_array()) {
      const std::string& text = one.find("text")->as_string();
      BOOST_TEST_CONTEXT(name << " " << ratel::io::in_quotes(text)) {
        const Ids ids = ids_of(*one.find("ids"));
        BOOST_TEST(tokenizer.encode(text) == ids, boost::test_tools::per_element());
        Ids again;
        encoder.encode(text, again);
        BOOST_TEST(again == ids, boost::test_tools::per_element());
        BOOST_TEST(tokenizer.decode(ids) == one.find("decoded")->as_string());
      }
    }
    for (const Json& one : cases.find("decode")->as_array())
      BOOST_TEST(tokenizer.decode(ids_of(*one.find("ids"))) == one.find("text")->as_string(),
                 name << " decodes " << one.dump());
  }
}

BOOST_AUTO_TEST_CASE(every_text_comes_back) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  for (const Tokenizer& tokenizer : lossless()) {
    Encoder encoder(tokenizer);
    Chance chance(7);
    for (int round = 0; round < 1000; ++round) {
      const std::string text = round == 0 ? bytes : random_text(chance, chance.below(20));
      Ids ids;
      encoder.encode(text, ids);
      const std::string back = tokenizer.decode(ids);
      BOOST_TEST(back == text, tokenizer.name() << ": " << ratel::io::in_quotes(text) << " came back as "
                                                << ratel::io::in_quotes(back));
      BOOST_TEST(std::ranges::all_of(ids, [&](int64_t id) { return id >= 0 && id < tokenizer.vocab_size(); }));
    }
  }
}

BOOST_AUTO_TEST_CASE(what_is_special_in_pieces_is_spelled) {
  const Tokenizer llama = Tokenizer::open(golden_tokenizer("llama.model"));
  const auto byte = [](int64_t value) { return 3 + value; };
  const Ids space = llama.encode(" ", Part::rest);
  BOOST_TEST(space.size() == 1);
  BOOST_TEST((llama.encode("\xe2\x96\x81", Part::rest) == Ids{byte(0xe2), byte(0x96), byte(0x81)}));
  BOOST_TEST((llama.encode("\xff", Part::first) == Ids{space[0], byte(0xff)}));
  BOOST_TEST((llama.encode("\xe2\x96") == Ids{space[0], byte(0xe2), byte(0x96)}));
}

BOOST_AUTO_TEST_CASE(documents_may_be_cut_where_last_cut_says) {
  for (const Tokenizer& tokenizer : lossless()) {
    Chance chance(11);
    size_t cuts = 0;
    for (int round = 0; round < 2000; ++round) {
      const std::string text = random_text(chance, 1 + chance.below(30));
      const size_t seen = 1 + chance.below(text.size());  // the end of what was read so far
      const size_t cut = tokenizer.last_cut(std::string_view(text).substr(0, seen));
      BOOST_TEST_REQUIRE((cut == 0 || cut < seen));
      cuts += cut > 0;
      if (cut == 0) continue;
      Ids ids = tokenizer.encode(text.substr(0, cut));
      const Ids rest = tokenizer.encode(text.substr(cut), Part::rest);
      ids.insert(ids.end(), rest.begin(), rest.end());
      BOOST_TEST(ids == tokenizer.encode(text), tokenizer.name()
                                                    << ": " << ratel::io::in_quotes(text) << " at " << cut);
    }
    BOOST_TEST(cuts > 500);
  }
  const Tokenizer llama = lossless()[1];
  BOOST_TEST(llama.last_cut("It is a truth universally acknowledged") > 20);
  BOOST_TEST(llama.last_cut("") == 0);
  BOOST_TEST(llama.last_cut("the") == 0);
  BOOST_TEST(llama.last_cut(std::string(100, '\x80')) > 90);  // binary files do not grow without end
  BOOST_TEST(llama.last_cut(std::string(100, '\xff')) > 90);
  const Tokenizer lossy = Tokenizer::open(golden_tokenizer("lossy.model"));
  BOOST_TEST(lossy.last_cut("a b c") == 0);
  ratel::test::check_error(ErrorKind::usage, "cannot be cut", [&] { (void)lossy.encode("a", Part::rest); });
}

BOOST_AUTO_TEST_CASE(a_full_memory_of_words_changes_nothing) {
  const Tokenizer llama = Tokenizer::open(golden_tokenizer("llama.model"));
  Encoder encoder(llama);
  Ids ids;
  for (int word = 0; word < 140000; ++word) {  // more than an encoder remembers
    ids.clear();
    std::string text = "k";
    for (int rest = word; rest > 0; rest /= 26) text += static_cast<char>('a' + rest % 26);
    encoder.encode(text, ids);
  }
  Ids again;
  encoder.encode("Emma Woodhouse", again);
  BOOST_TEST((again == llama.encode("Emma Woodhouse")));
}

BOOST_AUTO_TEST_CASE(threads_share_a_tokenizer) {
  const Tokenizer llama = Tokenizer::open(golden_tokenizer("llama.model"));
  Chance chance(3);
  const std::string text = random_text(chance, 2000);
  const Ids expected = llama.encode(text);
  std::vector<Ids> found(4);
  {
    std::vector<std::jthread> threads;
    for (Ids& ids : found) threads.emplace_back([&ids, &llama, &text] { ids = Tokenizer(llama).encode(text); });
  }
  for (const Ids& ids : found) BOOST_TEST((ids == expected));
}

BOOST_AUTO_TEST_CASE(ids_and_files_that_are_not_there_are_named) {
  const Tokenizer llama = Tokenizer::open(golden_tokenizer("llama.model"));
  for (const int64_t id : {int64_t{-1}, int64_t{700}})
    ratel::test::check_error(ErrorKind::usage, "expected an id between 0 and 699, found " + std::to_string(id),
                             [&] { (void)llama.decode(Ids{id}); });
  ratel::test::check_error(ErrorKind::input, "none.model", [] { (void)Tokenizer::open("none.model"); });
  ratel::test::check_error(ErrorKind::input, RATEL_SOURCE_DIR, [] { (void)Tokenizer::open(RATEL_SOURCE_DIR); });
}
