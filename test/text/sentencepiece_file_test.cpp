#include "text/sentencepiece_file.h"

#include <boost/test/unit_test.hpp>

#include "io/limits.h"
#include "test/io/support.h"
#include "test/text/support.h"
#include "text/tokenizer.h"

using ratel::ErrorKind;
using ratel::read_sentencepiece;
using ratel::SentencePieceFile;
using ratel::Tokenizer;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::golden_tokenizer;

namespace {

// Protobuf, by hand.
std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7u) bytes += static_cast<char>(value | 128u);
  return bytes + static_cast<char>(value);
}
std::string number(uint64_t field, uint64_t value) { return varint(field << 3u) + varint(value); }
std::string text(uint64_t field, const std::string& bytes) {
  return varint(field << 3u | 2u) + varint(bytes.size()) + bytes;
}
std::string piece(const std::string& name, uint64_t type) { return text(1, text(1, name) + number(3, type)); }

const std::string kUnknown = piece("<unk>", 2), kTrainer = text(2, number(3, 2)), kNormalizer = text(3, number(3, 1));
const std::string kSmall = kUnknown + piece("a", 1) + kTrainer + kNormalizer;

SentencePieceFile parse(std::string_view file) {
  const auto copy = ratel::test::exact_copy(file);
  return read_sentencepiece({copy.data(), copy.size()}, "f");
}

void check_refused(const std::string& file, std::string_view part) {
  check_error(ErrorKind::input, part, [&] { (void)parse(file); });
}

}  // namespace

BOOST_AUTO_TEST_CASE(settings_and_pieces_are_read) {
  const SentencePieceFile llama = parse(content_of(golden_tokenizer("llama.model")));
  BOOST_TEST(llama.pieces.size() == 700);
  BOOST_TEST(llama.pieces[2].text == "</s>");
  BOOST_TEST((llama.pieces[2].type == SentencePieceFile::PieceType::control));
  BOOST_TEST(llama.pieces[3 + 10].text == "<0x0A>");
  BOOST_TEST((llama.algorithm == SentencePieceFile::Algorithm::bpe));
  BOOST_TEST((llama.byte_fallback && llama.add_dummy_prefix && llama.escape_whitespaces));
  BOOST_TEST((!llama.remove_extra_whitespaces && !llama.has_charsmap && !llama.whitespace_suffix));
  const SentencePieceFile lossy = parse(content_of(golden_tokenizer("lossy.model")));
  BOOST_TEST((lossy.algorithm == SentencePieceFile::Algorithm::unigram));
  BOOST_TEST((!lossy.byte_fallback && lossy.remove_extra_whitespaces && lossy.has_charsmap));
  BOOST_TEST(lossy.unk_surface == " \xe2\x81\x87 ");
  BOOST_TEST(parse(kSmall).pieces.size() == 2);
}

BOOST_AUTO_TEST_CASE(a_file_that_was_cut_anywhere_is_refused) {
  for (const char* name : {"llama.model", "unigram.model", "lossy.model"}) {
    const std::string whole = content_of(golden_tokenizer(name));
    for (size_t length = 0; length < whole.size(); ++length) BOOST_TEST_CONTEXT(name << " of " << length << " bytes") {
        check_refused(whole.substr(0, length), "f:");
      }
  }
}

BOOST_AUTO_TEST_CASE(a_changed_byte_is_refused_or_read) {
  const std::string whole = content_of(golden_tokenizer("lossy.model"));
  for (size_t at = 0; at < whole.size(); ++at)
    for (const int change : {1, 0x80}) {
      std::string other = whole;
      other[at] = static_cast<char>(other[at] ^ change);
      ratel::test::succeeds_or_refuses([&] { (void)parse(other); });
    }
}

BOOST_AUTO_TEST_CASE(what_is_wrong_is_named_with_its_place) {
  check_refused("", "f:0: expected the pieces of a SentencePiece model, found the end");
  check_refused(kUnknown + kNormalizer, "expected the trainer_spec of a SentencePiece model, found the end");
  check_refused(kUnknown + kTrainer, "expected the normalizer_spec of a SentencePiece model, found the end");
  check_refused("plain text, no model", "f:11: field 4: expected a length and bytes, found a varint");
  check_refused(std::string(1, '\0'), "found a tag of number 0");
  check_refused(kSmall + std::string(11, '\xff'), "expected a varint of 64 bits, found a longer one");
  check_refused(kSmall + varint(1u << 3u | 3u), "wire type 3");
  check_refused(number(1, 5), "f:0: field 1: expected a length and bytes, found a varint");
  check_refused(varint(1u << 3u | 2u) + varint(1000) + "ab",
                "f:0: field 1: expected 1000 bytes, found 2 before the end");
  check_refused(varint(1u << 3u | 2u) + varint(uint64_t{1} << 63) + "ab", "expected 9223372036854775808 bytes");
  check_refused(text(1, varint(1u << 3u | 2u) + varint(9) + "ab") + kSmall,
                "f:2: field 1: expected 9 bytes, found 2 "
                "before its message ends");
  check_refused(kUnknown + piece("", 1) + kSmall, "f:11: piece 1: expected a text, found none");
  check_refused(piece("\xff", 1), R"(piece 0: expected UTF-8, found "\xff")");
  check_refused(piece(std::string("a\0b", 3), 1), "piece 0: expected UTF-8");
  check_refused(piece("a", 7), "expected a piece of type 1 to 6, found 7");
  check_refused(kSmall + piece("a", 4), R"(piece 2: expected a new one, found "a" again)");
  check_refused(kSmall + piece("<other>", 2), "piece 2: expected one unknown piece, found a second");
  check_refused(piece("a", 1) + kTrainer + kNormalizer, "expected an unknown piece, found none");
  check_refused(kSmall + text(2, number(3, 5)), "expected a model_type from 1 to 4, found 5");
  check_refused(kSmall + text(2, text(35, "x")), "field 35: expected a varint, found a length and bytes");
  check_refused(kSmall + text(2, number(35, 1)), "expected 256 byte pieces, found 0");
  check_refused(kSmall + piece("<0x41>", 6), "expected 0 byte pieces, found 1");
  std::string many;
  for (int i = 0; i < 256; ++i) many += piece("<0x" + std::to_string(1000 + i) + ">", 6);
  check_refused(kSmall + text(2, number(35, 1)) + many, "expected a byte piece <0x00>, found none");
  check_refused(std::string(ratel::io::kTokenizerBytes + 1, '\n'), "expected a tokenizer of at most");
}

BOOST_AUTO_TEST_CASE(what_the_library_does_not_take_is_an_error_of_the_file) {
  const auto load = [](const std::string& file) { (void)Tokenizer::from_model(file, "f"); };
  BOOST_CHECK_NO_THROW(load(kSmall));
  check_error(ErrorKind::input, "f: expected a tokenizer without a denormalizer",
              [&] { load(kSmall + text(5, text(2, "rules"))); });
  check_error(ErrorKind::input, "f: libsentencepiece does not take this model: ", [&] {
    load(kUnknown + piece("a", 1) + kTrainer + text(3, text(2, "broken rules")));
  });
}
