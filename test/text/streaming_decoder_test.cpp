#include "text/streaming_decoder.h"

#include <boost/test/unit_test.hpp>

#include "io/report.h"
#include "test/io/support.h"
#include "test/text/support.h"

using ratel::StreamingDecoder;
using ratel::Tokenizer;
using ratel::test::Chance;
using ratel::test::golden_tokenizer;

namespace {

using Ids = std::vector<int64_t>;

std::vector<Tokenizer> tokenizers() {
  std::vector<Tokenizer> all{Tokenizer::bytes()};
  for (const char* name : {"llama.model", "unigram.model", "lossy.model"})
    all.push_back(Tokenizer::open(golden_tokenizer(name)));
  return all;
}

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = ratel::io::utf8_length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

/// What comes of each id, and of the end.
std::vector<std::string> pieces_of(const Tokenizer& tokenizer, const Ids& ids) {
  StreamingDecoder decoder(tokenizer);
  std::vector<std::string> pieces;
  for (const int64_t id : ids) pieces.push_back(decoder.push(id));
  pieces.push_back(decoder.finish());
  return pieces;
}

std::string joined(const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return text;
}

}  // namespace

BOOST_AUTO_TEST_CASE(pieces_are_the_text_and_no_character_is_parted) {
  for (const Tokenizer& tokenizer : tokenizers()) {
    Chance chance(5);
    for (int round = 0; round < 1000; ++round) {
      const std::string text = ratel::test::random_text(chance, chance.below(12));
      const Ids ids = tokenizer.encode(text);
      const auto pieces = pieces_of(tokenizer, ids);
      BOOST_TEST(joined(pieces) == tokenizer.decode(ids));
      if (tokenizer.lossless()) BOOST_TEST(joined(pieces) == text);
      if (!is_utf8(text)) continue;
      for (const std::string& piece : pieces) BOOST_TEST(is_utf8(piece), "parted in " << ratel::io::in_quotes(text));
    }
  }
}

BOOST_AUTO_TEST_CASE(any_ids_say_what_decode_says) {
  for (const Tokenizer& tokenizer : tokenizers()) {
    Chance chance(6);
    for (int round = 0; round < 2000; ++round) {
      Ids ids;
      for (size_t count = chance.below(10); count > 0; --count)
        ids.push_back(static_cast<int64_t>(chance.below(chance.below(2) == 0 ? 6 : tokenizer.vocab_size())));
      std::string plain;  // by the definition: what each adds, without the space put before the text
      for (const int64_t id : ids) plain += tokenizer.text_of(id);
      const std::string text = tokenizer.decode(ids);
      BOOST_TEST(joined(pieces_of(tokenizer, ids)) == text);
      BOOST_TEST(plain.ends_with(text));
      // After something else, nothing is taken away.
      const Ids before = tokenizer.encode("x");
      StreamingDecoder rest(tokenizer, before);
      std::string after;
      for (const int64_t id : ids) after += rest.push(id);
      BOOST_TEST(after + rest.finish() == plain);
    }
  }
}

BOOST_AUTO_TEST_CASE(characters_wait_until_they_are_whole) {
  StreamingDecoder decoder(Tokenizer::bytes());
  const auto push = [&](int byte) { return decoder.push(byte); };
  BOOST_TEST(push('a') == "a");
  BOOST_TEST(push(0xf0) == "");
  BOOST_TEST(push(0x9f) == "");
  BOOST_TEST(push(0x98) == "");
  BOOST_TEST(push(0x80) == "\xf0\x9f\x98\x80");
  BOOST_TEST(push(0xff) == "\xff");  // can begin nothing
  BOOST_TEST(push(0xc0) == "\xc0");  // a longer spelling of ASCII
  BOOST_TEST(push(0xe2) == "");
  BOOST_TEST(push('b') ==
             "\xe2"
             "b");  // was no character after all
  BOOST_TEST(push(0xed) == "");
  BOOST_TEST(push(0xa0) == "\xed\xa0");  // would be a surrogate
  BOOST_TEST(push(0xc3) == "");
  BOOST_TEST(push(256) == "");  // end-of-text
  BOOST_TEST(decoder.finish() == "\xc3");
  BOOST_TEST(decoder.finish() == "");
}

BOOST_AUTO_TEST_CASE(only_the_space_before_the_text_goes) {
  const Tokenizer llama = Tokenizer::open(golden_tokenizer("llama.model"));
  const Ids emma = llama.encode("Emma"), spaced = llama.encode(" Emma");
  BOOST_TEST(joined(pieces_of(llama, emma)) == "Emma");
  BOOST_TEST(joined(pieces_of(llama, spaced)) == " Emma");
  Ids after_controls{1, 2};  // which say nothing
  after_controls.insert(after_controls.end(), emma.begin(), emma.end());
  BOOST_TEST(joined(pieces_of(llama, after_controls)) == "Emma");
  StreamingDecoder after_eos(llama, Ids{2});
  BOOST_TEST(after_eos.push(emma[0]).front() != ' ');
  StreamingDecoder after_word(llama, emma);
  BOOST_TEST(after_word.push(emma[0]).front() == ' ');
}

BOOST_AUTO_TEST_CASE(what_is_known_of_a_character_is_not_returned) {
  StreamingDecoder decoder(Tokenizer::bytes(), Ids{'a', 0xc3});
  BOOST_TEST(decoder.push(0xa9) == "\xa9");
  BOOST_TEST(decoder.finish() == "");
}
