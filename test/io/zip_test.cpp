#include "io/zip.h"

#include <zlib.h>

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "test/io/support.h"
#include "test/io/zip_maker.h"

using ratel::ErrorKind;
using ratel::io::parse_zip;
using ratel::io::ZipEntry;
using ratel::io::ZipMethod;
using ratel::test::check_error;
using ratel::test::ZipMaker;

namespace {

using Bytes = std::vector<char>;

Bytes bytes_of(const ZipMaker& zip) { return ratel::test::exact_copy(zip.bytes()); }
std::span<const std::byte> span_of(const Bytes& bytes) { return std::as_bytes(std::span(bytes)); }

void check_refused(std::string_view archive, std::string_view part) {
  const Bytes copy = ratel::test::exact_copy(archive);
  check_error(ErrorKind::input, part, [&] { (void)parse_zip(span_of(copy), "f"); });
  check_error(ErrorKind::input, "f:", [&] { (void)parse_zip(span_of(copy), "f"); });
}
void check_refused(const ZipMaker& zip, std::string_view part) { check_refused(zip.bytes(), part); }

/// Two small files.
ZipMaker sample() { return ZipMaker().add("m/a", "first").add("m/b", "the second"); }

/// The raw form that zip archives hold.
std::string deflated(std::string_view text) {
  z_stream stream{};
  BOOST_REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  BOOST_REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// An archive of one deflated file, whose header says what `text` is.
ZipMaker packed(std::string_view text, const std::string& data) {
  ZipMaker zip;
  zip.add("m/a", data);
  zip.last().method = static_cast<uint16_t>(ZipMethod::deflated);
  zip.last().size = static_cast<uint32_t>(text.size());
  zip.last().crc = ZipMaker::crc32_of(text);
  return zip;
}

std::string unpacked(const ZipMaker& zip) {
  const Bytes archive = bytes_of(zip);
  const ZipEntry entry = parse_zip(span_of(archive), "f").at(0);
  std::vector<char> content(entry.size);
  inflate(span_of(archive), entry, std::as_writable_bytes(std::span(content)), "f");
  return {content.begin(), content.end()};
}

}  // namespace

BOOST_AUTO_TEST_CASE(entries_and_where_they_lie) {
  const Bytes archive = bytes_of(sample());
  const auto entries = parse_zip(span_of(archive), "f");
  BOOST_REQUIRE(entries.size() == 2u);
  BOOST_TEST(entries[1].name == "m/b");
  BOOST_TEST(std::string_view(archive.data() + entries[1].begin, entries[1].size) == "the second");
  BOOST_TEST(entries[1].end - entries[1].begin == 10u);
  check_crc(span_of(archive), entries[1], "f");
  const Bytes none = bytes_of(ZipMaker());
  BOOST_TEST(parse_zip(span_of(none), "f").empty());
}

BOOST_AUTO_TEST_CASE(deflated_entries) {
  const std::string text = "many words, many words, many words", data = deflated(text);
  BOOST_TEST(unpacked(packed(text, data)) == text);
  BOOST_TEST(unpacked(packed("", deflated(""))).empty());
  const auto refused = [](const ZipMaker& zip, std::string_view part) {
    check_error(ErrorKind::input, part, [&] { (void)unpacked(zip); });
  };
  refused(packed(text + "x", data), "\"m/a\" is damaged; expected deflated data that fills its size");
  refused(packed(text.substr(1), data), "is damaged");
  refused(packed(text, data + "x"), "is damaged");
  refused(packed(text, data.substr(1)), "is damaged");
  refused(packed(text, "\xff\xff"), "is damaged");
  refused(packed(text, data).crc(1), "is damaged; expected CRC-32 1");
  refused(packed("", ""), "is damaged");
}

BOOST_AUTO_TEST_CASE(entries_that_would_grow_too_much) {
  const std::string zeros(1'000'000, '\0');
  check_refused(packed(zeros, deflated(zeros)), "would grow too much; expected at most 100 times");
  check_refused(packed(std::string(200, 'x'), ""), "would grow too much");
}

BOOST_AUTO_TEST_CASE(wrong_contents) {
  ZipMaker zip;
  const Bytes archive = bytes_of(zip.add("m/a", "x").crc(5));
  const auto entries = parse_zip(span_of(archive), "f");
  check_error(ErrorKind::input, "f:33: \"m/a\" is damaged; expected CRC-32 5, found",
              [&] { check_crc(span_of(archive), entries[0], "f"); });
}

BOOST_AUTO_TEST_CASE(names) {
  for (const char* name : {"../a", "m/../a", "/etc/passwd", "\\a", "m/a\n", "m/\xff", ""})
    check_refused(ZipMaker().add(name, "x"), "the file name");
  check_refused(ZipMaker().add("m/a", "x").add("m/b", "y").add("m/a", "z"), "\"m/a\" appears twice");
  ZipMaker other;
  other.add("m/a", "x").last().local_name = "m/b";
  check_refused(other, R"(f:0: local header; expected the name "m/a", found "m/b")");
}

BOOST_AUTO_TEST_CASE(methods_and_flags) {
  for (const uint16_t flags : std::vector<uint16_t>{1, 1 << 6, 1 << 13}) {
    ZipMaker zip;
    zip.add("m/a", "x").last().flags = flags;
    check_refused(zip, "\"m/a\" is encrypted");
  }
  ZipMaker bzip2;
  bzip2.add("m/a", "x").last().method = 12;
  check_refused(bzip2, "expected method 0 (stored) or 8 (deflated), found 12");
}

BOOST_AUTO_TEST_CASE(overlaps) {
  ZipMaker same = sample();
  same.add("m/c", "first");
  same.last().keeps_its_place = true;
  same.last().header = 0;
  check_refused(same, R"(expected the name "m/c", found "m/a")");
  // A file whose data is another file: its header, its content.
  const std::string inner = ZipMaker().add("m/b", "x").bytes().substr(0, 34);
  ZipMaker nested;
  nested.add("m/a", inner).add("m/b", "x");
  nested.last().keeps_its_place = true;
  nested.last().header = 33;
  check_refused(nested, R"("m/b" overlaps "m/a"; expected it from 67 on)");
}

BOOST_AUTO_TEST_CASE(sizes_that_lie) {
  ZipMaker longer = sample();
  longer.last().size = longer.last().packed = 11;
  check_refused(longer, "an entry's data reaches beyond its place");
  ZipMaker huge = sample();
  huge.last().size = huge.last().packed = 0xfffffffe;
  check_refused(huge, "an entry's data reaches beyond its place");
  ZipMaker other = sample();
  other.last().size = 9;
  check_refused(other, "\"m/b\" is stored; expected 9 bytes of it, found 10");
  ZipMaker full = sample();
  full.last().size = full.last().packed = 0xffffffff;
  check_refused(full, "expected a zip64 field, found none");
  ZipMaker far = sample();
  far.add("m/c", "");
  far.last().keeps_its_place = true;
  far.last().header = 0xfffffff0;
  check_refused(far, "a local header reaches beyond its place");
}

// Each of its fields that the directory has too, one bit other than there.
BOOST_AUTO_TEST_CASE(local_headers_that_lie) {
  const std::string whole = sample().bytes();
  const auto changed = [&](size_t at, char bits) {
    std::string archive = whole;
    archive[at] = static_cast<char>(archive[at] ^ bits);
    return archive;
  };
  check_refused(changed(0, 1), "f:0: expected the local header of \"m/a\", found none");
  const size_t flags = 6, method = 8, crc = 14, packed_size = 18, size = 22;
  for (const size_t at : {flags, method, crc, crc + 3, packed_size, size}) {
    const std::string archive = changed(at, at == method ? 8 : 1);
    check_refused(archive, "f:0: the local header of \"m/a\" disagrees with the directory");
  }
  check_refused(changed(flags, 8), "f:0: the local header of \"m/a\" disagrees with the directory");  // sizes follow
}

BOOST_AUTO_TEST_CASE(directories_that_lie) {
  const std::string whole = sample().bytes();
  const size_t end = whole.size() - 22;
  const auto with = [&](size_t place, char value) {
    std::string changed = whole;
    changed[end + place] = value;
    return changed;
  };
  check_refused("", "f:0: expected a zip archive, found no end record");
  check_refused(std::string(100, 'x'), "found no end record");
  check_refused(whole + "x", "found no end record");
  check_refused("x" + whole, "expected a directory that ends at");
  check_refused(with(4, 1), "expected an archive in one piece, found one of several");
  check_refused(with(10, 3), "found one of several");
  check_refused(with(16, '\xff'), "expected a directory that ends at");
  check_refused(with(12, '\x01'), "expected a directory that ends at");
  std::string fewer = with(10, 1);
  fewer[end + 8] = 1;
  check_refused(fewer, "bytes after the directory");
  std::string more = with(10, 3);
  more[end + 8] = 3;
  check_refused(more, "a header of the directory reaches beyond its place");
  check_refused(with(20, 1), "found no end record");
}

BOOST_AUTO_TEST_CASE(every_prefix_and_every_flipped_bit) {
  const std::string whole = sample().bytes();
  for (size_t length = 0; length < whole.size(); ++length) check_refused(whole.substr(0, length), "f:");
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    Bytes flipped = ratel::test::exact_copy(whole);
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    ratel::test::succeeds_or_refuses([&] {
      for (const ZipEntry& entry : parse_zip(span_of(flipped), "f")) {
        BOOST_REQUIRE(entry.begin <= entry.end);
        BOOST_REQUIRE(entry.end <= flipped.size());
        if (entry.method == ZipMethod::stored) check_crc(span_of(flipped), entry, "f");
      }
    });
  }
}
