#include "io/token_file.h"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::TokenFile;
using ratel::io::TokenFileWriter;
using ratel::io::TokenSidecar;
using ratel::io::TokenWidth;
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
  BOOST_TEST((ratel::io::token_width(65537) == TokenWidth::four));
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

BOOST_AUTO_TEST_CASE(a_writer_takes_back_what_a_document_left) {
  const TemporaryFolder folder;
  TokenFileWriter writer(folder / "t", 300);
  std::vector<int64_t> ids(1'000'000, 7);  // more than is kept in memory
  writer.append(std::vector<int64_t>{1, 2, 3});
  writer.append(ids);
  writer.append(std::vector<int64_t>{4});
  BOOST_TEST(writer.size() == 1'000'004);
  check_error(ErrorKind::usage, "expected at most 1000004 tokens, found 1000005",
              [&] { writer.shorten_to(1'000'005); });
  writer.shorten_to(1'000'003);  // of what is in memory
  writer.shorten_to(2);          // of what is in the file
  std::vector<std::byte> encoded;
  ratel::io::append_tokens(std::vector<int64_t>{258, 9}, 300, encoded);
  check_error(ErrorKind::usage, "[0, 300), found 300", [&] {
    ratel::io::append_tokens(std::vector<int64_t>{5, 300}, 300, encoded);
  });
  writer.append_encoded(encoded);
  BOOST_TEST(writer.size() == 4);
  writer.close();
  BOOST_TEST((read_tokens(TokenFile::open(folder / "t", 300)) == std::vector<int64_t>{1, 2, 258, 9}));
}

BOOST_AUTO_TEST_CASE(a_sidecar_says_what_the_file_holds) {
  const TemporaryFolder folder;
  TokenSidecar about;
  about.eos = 2;
  about.documents = 1;
  {
    TokenFileWriter writer(folder / "t", 70'000);
    writer.append(std::vector<int64_t>{5, 69'999, 2});
    writer.prepare(about);
    BOOST_TEST(!std::filesystem::exists(folder / "t"));
    BOOST_TEST(!std::filesystem::exists(folder / "t.json"));
  }
  BOOST_TEST(folder.count() == 0);  // prepared, not committed
  TokenFileWriter writer(folder / "t", 70'000);
  writer.append(std::vector<int64_t>{5, 69'999, 2});
  writer.close(about);
  const TokenFile file = TokenFile::open(folder / "t");
  BOOST_TEST(file.vocab_size() == 70'000);
  BOOST_TEST((file.width() == TokenWidth::four));
  BOOST_TEST(file.size() == 3);
  BOOST_TEST(file.sidecar()->eos == 2);
  BOOST_TEST(file.sidecar()->fingerprint == file.fingerprint());
  BOOST_TEST(TokenFile::open(folder / "t", 80'000).vocab_size() == 80'000);  // a model may have more words
  check_error(ErrorKind::input, "t: tokens of a larger vocabulary; expected one of at most 300, found 70000",
              [&] { TokenFile::open(folder / "t", 300); });
  // The width is the sidecar's, whatever the vocabulary.
  (void)folder.file("wide", std::string("\1\0\0\0", 4));
  (void)folder.file("wide.json", R"({"format_version":1,"dtype":"uint32","vocab_size":9,"tokens":1})");
  BOOST_TEST(read_tokens(TokenFile::open(folder / "wide")) == std::vector<int64_t>{1});
  // Another file takes the place of the first: its sidecar goes.
  write_tokens(folder / "t", 10, {1, 2});
  BOOST_TEST(!std::filesystem::exists(folder / "t.json"));
  check_error(ErrorKind::usage, "expected a vocabulary size, found neither", [&] { TokenFile::open(folder / "t"); });
}

BOOST_AUTO_TEST_CASE(a_sidecar_that_disagrees_with_its_file) {
  const TemporaryFolder folder;
  const auto written = [&] {
    TokenFileWriter writer(folder / "t", 10);
    writer.append(std::vector<int64_t>{1, 2, 3});
    writer.close(TokenSidecar());
  };
  written();
  (void)folder.file("t", std::string("\1\0\2\0", 4));
  check_error(ErrorKind::input, "t.json: tokens: disagrees with ", [&] { TokenFile::open(folder / "t"); });
  check_error(ErrorKind::input, "expected 2, found 3", [&] { TokenFile::open(folder / "t", 10); });
  written();
  (void)folder.file("t", std::string("\1\0\2\0\4\0", 6));
  try {
    TokenFile::open(folder / "t");
    BOOST_ERROR("another file of the same size was taken for the one described");
  } catch (const ratel::Error& error) {
    BOOST_TEST((error.kind() == ErrorKind::input));
    BOOST_TEST(std::string_view(error.what()).find("fingerprint: belongs to another file") != std::string_view::npos);
  }
  // Cut anywhere, the file is refused.
  written();
  const std::string whole = content_of(folder / "t");
  for (size_t size = 0; size < whole.size(); ++size) {
    (void)folder.file("t", whole.substr(0, size));
    BOOST_TEST(!ratel::test::succeeds_or_refuses([&] { TokenFile::open(folder / "t"); }), "cut at " << size);
  }
}

namespace {

std::string llm_c_file(int32_t magic, int32_t version, int32_t count, std::string_view tokens) {
  std::string file(1024, '\0');
  for (const auto& [at, value] : {std::pair{0, magic}, {4, version}, {8, count}})
    file.replace(static_cast<size_t>(at), 4, reinterpret_cast<const char*>(&value), 4);
  return file.append(tokens);
}

}  // namespace

BOOST_AUTO_TEST_CASE(headers_of_llm_c) {
  const TemporaryFolder folder;
  const std::string two = llm_c_file(20240520, 1, 3, std::string("\1\0\2\1\377\377", 6));
  const std::string four = llm_c_file(20240801, 7, 2, std::string("\1\0\0\0\0\0\1\0", 8));
  const TokenFile file = TokenFile::open(folder.file("two", two));
  BOOST_TEST(read_tokens(file) == (std::vector<int64_t>{1, 258, 65535}));
  BOOST_TEST(file.layout() == "llm.c");
  BOOST_TEST(file.vocab_size() == 65536);
  // Ids of two bytes although the model's vocabulary would take four, and the other way round.
  BOOST_TEST(read_tokens(TokenFile::open(folder / "two", 100'000)) == (std::vector<int64_t>{1, 258, 65535}));
  check_error(ErrorKind::input, "two:1028: token 2 is outside the vocabulary; expected an id below 300, found 65535",
              [&] { TokenFile::open(folder / "two", 300).validate(); });
  BOOST_TEST(read_tokens(TokenFile::open(folder.file("four", four))) == (std::vector<int64_t>{1, 65536}));
  check_error(ErrorKind::input, "four:1028: token 1 is outside the vocabulary; expected an id below 9, found 65536",
              [&] { TokenFile::open(folder / "four", 9).validate(); });

  const auto refused = [&](const std::string& bytes, std::string_view message) {
    check_error(ErrorKind::input, message, [&] { TokenFile::open(folder.file("bad", bytes), 65536); });
  };
  const std::string ids = two.substr(1024);
  refused(llm_c_file(20240520, 2, 3, ids), "bad:4: llm.c's header; expected version 1, found 2");
  refused(llm_c_file(20240801, 1, 3, ids), "bad:4: llm.c's header; expected version 7, found 1");
  refused(llm_c_file(20240520, 1, 0, ids), "bad:8: llm.c's header; expected at least one token, found 0");
  refused(llm_c_file(20240520, 1, -1, ids), "bad:8: llm.c's header; expected at least one token, found -1");
  refused(llm_c_file(20240520, 1, 2, ids), "bad:1028: llm.c's header counts 2 tokens; expected 1028 bytes, found 1030");
  refused(llm_c_file(20240520, 1, INT32_MAX, ids), "expected 4294968318 bytes, found 1030");
  refused(llm_c_file(20240522, 1, 3, ids), "bad:0: expected tokens, found llm.c's examples");
  for (const std::string& whole : {two, four})
    for (size_t size = 4; size < whole.size(); ++size)
      BOOST_TEST(!ratel::test::succeeds_or_refuses([&] { TokenFile::open(folder.file("cut", whole.substr(0, size))); }),
                 "cut at " << size);
}

BOOST_AUTO_TEST_CASE(a_scan_finds_an_id_at_any_place_and_stops_when_asked) {
  const TemporaryFolder folder;
  const size_t tokens = 1'100'000;  // more than a piece between two looks at `stop`
  for (const size_t at : {size_t{0}, size_t{16383}, size_t{16384}, size_t{777'777}, tokens - 1}) {
    std::string bytes(2 * tokens, '\0');
    bytes[2 * at + 1] = '\x02';
    const TokenFile file = TokenFile::open(folder.file("t", bytes), 512);
    check_error(ErrorKind::input, "t:" + std::to_string(2 * at) + ": token " + std::to_string(at) + " is outside",
                [&] { file.validate(); });
    if (at == tokens - 1) file.validate([] { return true; });
  }
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
