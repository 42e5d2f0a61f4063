#include "io/token_file.h"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::token_bytes;
using ratel::io::TokenFile;
using ratel::io::TokenFileWriter;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::TemporaryFolder;

namespace {

void write_tokens(const std::string& path, int64_t vocab_size, const std::vector<int64_t>& ids) {
  TokenFileWriter writer(path, vocab_size);
  writer.append(ids);
  writer.close();
}

std::vector<int64_t> read_tokens(const TokenFile& file) {
  std::vector<int64_t> ids(static_cast<size_t>(file.size()));
  file.read(0, file.size(), ids.data());
  return ids;
}

}  // namespace

BOOST_AUTO_TEST_CASE(two_bytes_up_to_65536_and_four_above) {
  const TemporaryFolder folder;
  const std::vector<int64_t> ids{0, 1, 258, 65535};
  write_tokens(folder / "two", 65536, ids);
  BOOST_TEST(content_of(folder / "two") == std::string("\0\0\1\0\2\1\xff\xff", 8));
  BOOST_TEST(read_tokens(TokenFile::open(folder / "two", 65536)) == ids);
  const std::vector<int64_t> wide{0, 65536, 16909060};
  write_tokens(folder / "four", int64_t{1} << 32, wide);
  BOOST_TEST(content_of(folder / "four") == std::string("\0\0\0\0\0\0\1\0\4\3\2\1", 12));
  BOOST_TEST(read_tokens(TokenFile::open(folder / "four", int64_t{1} << 32)) == wide);
  BOOST_TEST(token_bytes(65537) == 4u);
}

BOOST_AUTO_TEST_CASE(reading_ranges) {
  const TemporaryFolder folder;
  write_tokens(folder / "t", 10, {5, 6, 7, 8, 9});
  const TokenFile file = TokenFile::open(folder / "t", 10);
  BOOST_TEST(file.size() == 5);
  BOOST_TEST(file.vocab_size() == 10);
  BOOST_TEST(file.token(4) == 9);
  std::vector<int64_t> out(2);
  file.read(1, 2, out.data());
  BOOST_TEST(out == (std::vector<int64_t>{6, 7}));
  file.read(5, 0, out.data());
  using Range = std::pair<int64_t, int64_t>;  // begin, count
  for (const Range& range : {Range{-1, 1}, {4, 2}, {6, 0}, {0, -1}, {1, INT64_MAX}})
    check_error(ErrorKind::usage, "in [0, 5)", [&] { file.read(range.first, range.second, out.data()); });
  check_error(ErrorKind::usage, "in [0, 5)", [&] { (void)file.token(5); });
}

BOOST_AUTO_TEST_CASE(bad_files) {
  const TemporaryFolder folder;
  check_error(ErrorKind::input, "No such file", [&] { TokenFile::open(folder / "none", 10); });
  check_error(ErrorKind::input, "empty:0: no tokens", [&] { TokenFile::open(folder.file("empty", ""), 10); });
  check_error(ErrorKind::input, "odd:2: not a whole number of tokens; expected a multiple of 2",
              [&] { TokenFile::open(folder.file("odd", "abc"), 10); });
  check_error(ErrorKind::input, "multiple of 4", [&] { TokenFile::open(folder.file("six", "abcdef"), 100'000); });
  for (const int64_t vocab_size : {int64_t{0}, int64_t{-5}, (int64_t{1} << 32) + 1})
    check_error(ErrorKind::usage, "vocabulary", [&] { TokenFile::open(folder / "odd", vocab_size); });
}

BOOST_AUTO_TEST_CASE(ids_outside_the_vocabulary) {
  const TemporaryFolder folder;
  std::vector<int64_t> ids(300'000, 9);
  ids[200'000] = 10;
  write_tokens(folder / "t", 11, ids);
  TokenFile::open(folder / "t", 11).validate();
  const TokenFile file = TokenFile::open(folder / "t", 10);
  BOOST_TEST(file.token(199'999) == 9);
  const char* message = "t:400000: token 200000 is outside the vocabulary; expected an id below 10, found 10";
  check_error(ErrorKind::input, message, [&] { (void)file.token(200'000); });
  check_error(ErrorKind::input, message, [&] { file.validate(); });
  std::vector<int64_t> out(3);
  check_error(ErrorKind::input, message, [&] { file.read(199'999, 3, out.data()); });
}

BOOST_AUTO_TEST_CASE(writing_in_pieces) {
  const TemporaryFolder folder;
  std::vector<int64_t> ids(1'300'000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i * 7919 % 50'000);
  {
    TokenFileWriter writer(folder / "t", 50'000);
    for (size_t begin = 0; begin < ids.size(); begin += 1000)
      writer.append(std::span(ids).subspan(begin, std::min<size_t>(1000, ids.size() - begin)));
    BOOST_TEST(writer.size() == 1'300'000);
    BOOST_TEST(!std::filesystem::exists(folder / "t"));
    writer.close();
  }
  BOOST_TEST((read_tokens(TokenFile::open(folder / "t", 50'000)) == ids));
  BOOST_TEST(folder.count() == 1);
}

BOOST_AUTO_TEST_CASE(a_writer_refuses) {
  const TemporaryFolder folder;
  {
    TokenFileWriter writer(folder / "t", 10);
    writer.append(std::vector<int64_t>{1});
    check_error(ErrorKind::usage, "expected token ids in [0, 10), found 10", [&] {
      writer.append(std::vector<int64_t>{2, 10});
    });
    check_error(ErrorKind::usage, "found -1", [&] { writer.append(std::vector<int64_t>{-1}); });
    BOOST_TEST(writer.size() == 1);
    TokenFileWriter empty(folder / "u", 10);
    check_error(ErrorKind::usage, "at least one token", [&] { empty.close(); });
  }
  BOOST_TEST(folder.count() == 0);
  check_error(ErrorKind::disk, "No such file", [&] { TokenFileWriter writer(folder / "none/t", 10); });
}

BOOST_AUTO_TEST_CASE(fingerprints) {
  const TemporaryFolder folder;
  const auto fingerprint = [&](std::string_view text) {
    return TokenFile::open(folder.file("t", text), 10).fingerprint();
  };
  BOOST_TEST(fingerprint("abcd") == fingerprint("abcd"));
  BOOST_TEST(fingerprint("abcd") != fingerprint("abce"));
  BOOST_TEST(fingerprint("abcd") != fingerprint("abcdab"));
  BOOST_TEST(fingerprint("abcd").size() == 64u);
  // Beyond 4 MiB: the first and the last byte count, and so does the length.
  std::string large(5'000'002, 'a');
  const std::string whole = fingerprint(large);
  for (const size_t at : {size_t{0}, size_t{65535}, large.size() - 65536, large.size() - 1}) {
    large[at] = 'b';
    BOOST_TEST(fingerprint(large) != whole);
    large[at] = 'a';
  }
  BOOST_TEST(fingerprint(large) == whole);
  BOOST_TEST(fingerprint(large + "aa") != whole);
}
