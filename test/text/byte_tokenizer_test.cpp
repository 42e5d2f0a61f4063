#include "text/byte_tokenizer.h"

#include "test/support/compare.h"

using ratel::ByteTokenizer;

BOOST_AUTO_TEST_CASE(every_byte_there_and_back) {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text += static_cast<char>(static_cast<unsigned char>(byte));
  const auto ids = ByteTokenizer::encode(text);
  for (int64_t byte = 0; byte < 256; ++byte) BOOST_TEST(ids[static_cast<size_t>(byte)] == byte);
  BOOST_TEST(ByteTokenizer::decode(ids) == text);
  BOOST_TEST(ByteTokenizer::encode("").empty());
  BOOST_TEST(ByteTokenizer::decode({}) == "");
  BOOST_TEST((ByteTokenizer::encode("\xc3\xa9") == std::vector<int64_t>{0xc3, 0xa9}));
}

BOOST_AUTO_TEST_CASE(end_of_text_has_no_bytes) {
  BOOST_TEST(ByteTokenizer::decode(std::vector<int64_t>{'a', ByteTokenizer::kEos, 'b'}) == "ab");
  BOOST_TEST(ByteTokenizer::kEos == ByteTokenizer::kVocabSize - 1);
}

BOOST_AUTO_TEST_CASE(ids_outside_the_vocabulary_are_named) {
  for (const int64_t id : {int64_t{-1}, int64_t{257}})
    ratel::test::check_error(
        [&] {
          (void)ByteTokenizer::decode({&id, 1});
        },
        "expected an id between 0 and 256, found " + std::to_string(id));
}
