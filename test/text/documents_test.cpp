#include "text/documents.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "test/io/support.h"

using ratel::Block;
using ratel::DocumentPart;
using ratel::DocumentReader;
using ratel::ErrorKind;
using ratel::InputFile;
using ratel::Tokenizer;
using ratel::test::check_error;
using ratel::test::content_of;

namespace {

struct Found {
  std::string text, problem;
  uint64_t place = 0;
  int parts = 1;
};

/// The documents of files in memory, joined again; blocks are checked on the way.
std::vector<Found> documents_of(const std::vector<std::pair<std::string, std::string>>& files) {
  std::vector<InputFile> inputs;
  std::map<std::string, std::string> contents;
  for (const auto& [name, bytes] : files) {
    inputs.push_back({name, ratel::format_of(name), bytes.size()});
    contents[name] = bytes;
  }
  DocumentReader reader(inputs, Tokenizer::bytes(), [&](const InputFile& file) {
    return decompressed(ratel::io::stream_of(std::as_bytes(std::span(contents.at(file.path))), file.path),
                        file.format.compression);
  });
  std::vector<Found> found;
  bool is_open = false;
  uint64_t used = 0;
  for (Block block; reader.next(block);) {
    size_t at = 0;
    for (const DocumentPart& part : block.parts) {
      BOOST_TEST(part.begin == at);
      BOOST_TEST(part.is_first == !is_open);
      at += part.size;
      const std::string text = block.bytes.substr(part.begin, part.size);
      if (part.is_first)
        found.push_back({text, part.problem, part.place});
      else
        found.back().text += text, found.back().problem += part.problem, ++found.back().parts;
      is_open = !part.is_last && part.problem.empty();
    }
    BOOST_TEST(at == block.bytes.size());
    BOOST_TEST(block.used >= used);
    used = block.used;
  }
  BOOST_TEST(!is_open);
  return found;
}

std::vector<std::string> texts_of(const std::vector<std::pair<std::string, std::string>>& files) {
  std::vector<std::string> texts;
  for (const Found& one : documents_of(files)) texts.push_back(one.text);
  return texts;
}

using Texts = std::vector<std::string>;

/// Gives one byte at a time, as a pipe may.
class Drip : public ratel::io::ByteStream {
 public:
  explicit Drip(std::unique_ptr<ratel::io::ByteStream> source) : source_(std::move(source)) {}
  size_t read(std::span<std::byte> out) override { return source_->read(out.first(std::min<size_t>(out.size(), 1))); }
  [[nodiscard]] uint64_t position() const override { return source_->position(); }
  [[nodiscard]] bool interrupted() const override { return source_->interrupted(); }
  [[nodiscard]] const std::string& path() const override { return source_->path(); }

 private:
  std::unique_ptr<ratel::io::ByteStream> source_;
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_byte_order_mark_may_come_in_pieces) {
  const std::string bytes = "\xef\xbb\xbftext";
  DocumentReader reader({{"a.txt", ratel::format_of("a.txt"), {}}}, Tokenizer::bytes(), [&](const InputFile& file) {
    return std::make_unique<Drip>(ratel::io::stream_of(std::as_bytes(std::span(bytes)), file.path));
  });
  Block block;
  BOOST_TEST_REQUIRE(reader.next(block));
  BOOST_TEST(block.bytes == "text");
  BOOST_TEST_REQUIRE(block.parts.size() == 1u);
  BOOST_TEST(block.parts[0].place == 3u);  // of the file, the mark included
}

BOOST_AUTO_TEST_CASE(a_text_is_a_document_whatever_its_size) {
  const std::string mark = "\xef\xbb\xbf";
  BOOST_TEST(
      texts_of({{"a.txt", "one\r\ntwo"}, {"b", mark + "three\n"}, {"c.txt", ""}, {"d.txt", mark}, {"e", "\xef"}}) ==
      (Texts{"one\r\ntwo", "three\n", "", "", "\xef"}));
  std::string large;
  for (int line = 0; large.size() < 2'500'000; ++line) large += "line " + std::to_string(line) + "\n";
  for (const size_t size : {DocumentReader::kBlockBytes - 1, DocumentReader::kBlockBytes,
                            DocumentReader::kBlockBytes + 1, 2 * DocumentReader::kBlockBytes, large.size()}) {
    const auto found = documents_of({{"a.txt", "first"}, {"b.txt", large.substr(0, size)}, {"c.txt", "last"}});
    BOOST_TEST_REQUIRE(found.size() == 3u);
    BOOST_TEST((found[1].text == large.substr(0, size)));
    BOOST_TEST(found[2].text == "last");
    BOOST_TEST((found[1].parts > 1) == (size + found[0].text.size() > DocumentReader::kBlockBytes));
  }
}

BOOST_AUTO_TEST_CASE(rows_are_lines) {
  const auto found =
      documents_of({{"r.jsonl", "\xef\xbb\xbf{1}\n\n \t\r\n{2}\r\n{3}"}, {"s.jsonl", ""}, {"t.jsonl", "\n{4}\n"}});
  BOOST_TEST_REQUIRE(found.size() == 4u);
  for (const auto& [index, text, place] : {std::tuple{0, "{1}", 1}, {1, "{2}\r", 4}, {2, "{3}", 5}, {3, "{4}", 2}}) {
    BOOST_TEST(found[static_cast<size_t>(index)].text == text);
    BOOST_TEST(found[static_cast<size_t>(index)].place == static_cast<uint64_t>(place));
  }
}

BOOST_AUTO_TEST_CASE(rows_may_lie_over_the_edges_of_buffers) {
  const ratel::Rng rng(3);
  Texts rows;
  std::string file;
  for (uint64_t i = 0; file.size() < 3'000'000; ++i) {
    const size_t size = rng.bits_at(i) % (i % 50 == 0 ? 600'000 : 9000);
    rows.push_back(std::to_string(i) + std::string(size, 'x'));
    file += rows.back() + "\n";
  }
  BOOST_TEST((texts_of({{"r.jsonl", file}}) == rows));
  file.pop_back();
  BOOST_TEST((texts_of({{"r.jsonl", file}}) == rows));
}

BOOST_AUTO_TEST_CASE(compressed_files_hold_the_same) {
  std::string text;
  for (int n = 0; n < 30000; ++n) text += "line " + std::to_string(n) + "\n";
  const std::string folder = RATEL_SOURCE_DIR "/test/golden/streams/";
  const std::string gz = content_of(folder + "members.gz"), zst = content_of(folder + "frames.zst");
  const auto found = documents_of({{"a.gz", gz}, {"b.txt.zst", zst}});
  BOOST_TEST_REQUIRE(found.size() == 2u);
  BOOST_TEST((found[0].text == text));
  BOOST_TEST((found[1].text == text));
  const auto rows = documents_of({{"c.jsonl.zst", zst}});
  BOOST_TEST_REQUIRE(rows.size() == 30000u);
  BOOST_TEST(rows[29999].text == "line 29999");
  BOOST_TEST(rows[29999].place == 30000u);
  check_error(ErrorKind::input, "c.jsonl.gz:1000: gzip data ends early", [&] {
    documents_of({{"c.jsonl.gz", gz.substr(0, 1000)}});
  });
}

BOOST_AUTO_TEST_CASE(a_row_beyond_the_limit_is_a_problem_and_no_more) {
  const std::string most(DocumentReader::kMostBytes, 'x');
  const auto found = documents_of({{"r.jsonl", "{1}\n" + most + "\n" + most + "y\n{4}\n" + most + "z"}});
  BOOST_TEST_REQUIRE(found.size() == 5u);
  BOOST_TEST((found[1].text == most));
  BOOST_TEST(found[1].problem.empty());
  BOOST_TEST(found[2].problem == "r.jsonl:3: too long; expected a row of at most 16777216 bytes, found more");
  BOOST_TEST(found[2].text.empty());
  BOOST_TEST(found[3].text == "{4}");
  BOOST_TEST(found[3].place == 4u);
  BOOST_TEST(found[4].problem == "r.jsonl:5: too long; expected a row of at most 16777216 bytes, found more");
}
