#include "text/sentencepiece_training.h"

#include <boost/test/unit_test.hpp>

#include "test/io/support.h"
#include "test/text/support.h"
#include "text/sentencepiece_file.h"
#include "text/tokenizer.h"

using ratel::ErrorKind;
using ratel::Tokenizer;
using ratel::WordCounts;
using ratel::test::Chance;
using ratel::test::check_error;
using Words = std::vector<std::pair<std::string, int64_t>>;

namespace {

WordCounts counts_of(std::string_view text) {
  WordCounts words;
  words.add(text);
  words.end_document();
  return words;
}

/// Prose of this project.
std::string prose() {
  return ratel::test::content_of(RATEL_SOURCE_DIR "/docs/architecture.md") +
         ratel::test::content_of(RATEL_SOURCE_DIR "/docs/adding-an-op.md");
}

}  // namespace

BOOST_AUTO_TEST_CASE(words_are_counted_with_the_spaces_before_them) {
  const auto check_words = [](std::string_view text, const Words& expected) {
    BOOST_TEST((counts_of(text).sorted() == expected), "words of " << text);
  };
  check_words("", {});
  check_words("\n\n", {});
  check_words("a b a", {{"a", 2}, {"b", 1}});
  check_words("a  b   c", {{"  c", 1}, {" b", 1}, {"a", 1}});
  check_words(" a\n  a ", {{"  a", 1}, {" a", 1}});
  check_words("a\nb", {{"a", 1}, {"b", 1}});
  check_words("a\tb \xff\xe2\x96\x81", {{std::string("\0\0", 2), 1}, {std::string("a\0b", 3), 1}});
  const std::string word = "ab\xc3\xa9" + std::string(2 * WordCounts::kMostWordBytes, 'x');
  const Words cut = counts_of(word).sorted();
  BOOST_TEST(cut.size() == 3);
}

BOOST_AUTO_TEST_CASE(different_words_are_bounded) {
  WordCounts words(3 * (WordCounts::kBytesAWord + 1));
  words.add("a b c a b c ");
  words.end_document();
  BOOST_TEST(words.different_words() == 3);
  check_error(ErrorKind::input, "too many different words; expected at most 219 bytes of them, found more after 14 ",
              [&] {
                words.add("d ");
                words.end_document();
              });
}

BOOST_AUTO_TEST_CASE(words_do_not_depend_on_how_a_text_comes) {
  Chance chance(4);
  const std::string text = ratel::test::random_text(chance, 3000);
  WordCounts words;
  for (size_t at = 0; at < text.size();) {
    const size_t size = std::min(1 + chance.below(9), text.size() - at);
    words.add(std::string_view(text).substr(at, size));
    at += size;
  }
  words.end_document();
  BOOST_TEST((words.sorted() == counts_of(text).sorted()));
  BOOST_TEST(words.bytes() == static_cast<int64_t>(text.size()));
}

BOOST_AUTO_TEST_CASE(a_trained_model_has_llamas_settings_and_loses_nothing) {
  const WordCounts words = counts_of(prose());
  const std::string model = train_sentencepiece(words, {.vocab_size = 700});
  BOOST_TEST(model == train_sentencepiece(words, {.vocab_size = 700}));
  // The file keeps the coverage: a digit more than six is not lost, which would make it 1.
  BOOST_TEST((train_sentencepiece(words, {.vocab_size = 700, .character_coverage = 0.9999995}) !=
              train_sentencepiece(words, {.vocab_size = 700, .character_coverage = 1})));
  const Tokenizer tokenizer = Tokenizer::from_model(model, "trained");
  BOOST_TEST(tokenizer.vocab_size() == 700);
  BOOST_TEST(tokenizer.eos().value() == 2);
  BOOST_TEST(tokenizer.lossless());
  const auto file = ratel::read_sentencepiece(model, "trained");
  BOOST_TEST(file.pieces[0].text == "<unk>");
  BOOST_TEST(file.pieces[1].text == "<s>");
  BOOST_TEST(file.pieces[3].text == "<0x00>");
  for (const auto& piece : file.pieces)
    if (piece.type == ratel::SentencePieceFile::PieceType::normal && piece.text.size() > 1)
      BOOST_TEST(piece.text.find_first_of("0123456789\t\n") == std::string::npos, piece.text);
  Chance chance(9);
  for (int round = 0; round < 300; ++round) {
    const std::string text = ratel::test::random_text(chance, chance.below(30));
    BOOST_TEST(tokenizer.decode(tokenizer.encode(text)) == text);
  }
  const std::string text = prose();
  const auto ids = tokenizer.encode(text);
  BOOST_TEST(tokenizer.decode(ids) == text);
  BOOST_TEST(ids.size() < text.size() / 2);  // it has learned something
}

BOOST_AUTO_TEST_CASE(what_cannot_be_trained_says_why) {
  const WordCounts small = counts_of("the cat and the dog");
  check_error(ErrorKind::input, "expected text to train a tokenizer on, found none",
              [] { train_sentencepiece(WordCounts(), {}); });
  check_error(ErrorKind::usage, "vocab_size: expected 260 to ",
              [&] { train_sentencepiece(small, {.vocab_size = 259}); });
  check_error(ErrorKind::usage, "character_coverage: expected 0.98 to 1",
              [&] { train_sentencepiece(small, {.character_coverage = 0.5}); });
  check_error(ErrorKind::usage, "Vocabulary size is smaller than required_chars. 261 vs ",
              [&] { train_sentencepiece(small, {.vocab_size = 261}); });
  try {
    train_sentencepiece(small, {.vocab_size = 4096});
    BOOST_ERROR("expected an error");
  } catch (const ratel::Error& error) {
    BOOST_TEST(std::string(error.what()).starts_with("training a tokenizer: expected 4096 pieces, found 2"),
               error.what());
    BOOST_TEST(std::string(error.what()).find("\nhint: --vocab 2") != std::string::npos);
  }
}
