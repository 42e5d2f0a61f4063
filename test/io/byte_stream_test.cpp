#include "io/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <string>
#include <thread>
#include <utility>

#include "core/rng.h"
#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::ByteStream;
using ratel::io::Compression;
using ratel::io::open_stream;
using ratel::io::stream_of;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::TemporaryFolder;

namespace {

std::string lines(int begin, int end) {
  std::string text;
  for (int n = begin; n < end; ++n) text += "line " + std::to_string(n) + "\n";
  return text;
}

std::string fixture(const std::string& name) {
  std::string bytes = content_of(RATEL_SOURCE_DIR "/test/golden/streams/" + name);
  BOOST_TEST_REQUIRE(!bytes.empty(), name << " is missing");
  return bytes;
}

/// Everything that comes, through a buffer of `piece` bytes.
std::string drain(ByteStream& stream, size_t piece = 4096) {
  std::string text, buffer(piece, '\0');
  while (const size_t count = stream.read(std::as_writable_bytes(std::span(buffer)))) text.append(buffer, 0, count);
  return text;
}

std::string decoded(std::string_view bytes, Compression compression, size_t piece = 4096) {
  const auto stream = decompressed(stream_of(std::as_bytes(std::span(bytes)), "f"), compression);
  return drain(*stream, piece);
}

struct Format {
  Compression compression;
  const char *small, *several, *ends_early, *damaged;
};
const Format kFormats[] = {
    {Compression::gzip, "lines.gz", "members.gz", "gzip data ends early; expected more of a member",
     "damaged gzip data"},
    {Compression::zstd, "lines.zst", "frames.zst", "zstd data ends early; expected more of a frame",
     "damaged zstd data"},
};

}  // namespace

BOOST_AUTO_TEST_CASE(members_and_frames_follow_one_another) {
  for (const Format& format : kFormats)
    for (const size_t piece : {size_t{1}, size_t{1000}, size_t{1} << 20}) {
      BOOST_TEST((decoded(fixture(format.small), format.compression, piece) == lines(0, 40)));
      BOOST_TEST((decoded(fixture(format.several), format.compression, piece) == lines(0, 30000)));
    }
  BOOST_TEST(decoded("as it is", Compression::none) == "as it is");
}

BOOST_AUTO_TEST_CASE(positions_are_those_of_the_file) {
  for (const Format& format : kFormats) {
    const std::string bytes = fixture(format.several);
    const auto stream = decompressed(stream_of(std::as_bytes(std::span(bytes)), "f"), format.compression);
    BOOST_TEST(stream->position() == 0u);
    drain(*stream);
    BOOST_TEST(stream->position() == bytes.size());
    BOOST_TEST(stream->path() == "f");
  }
}

BOOST_AUTO_TEST_CASE(cut_at_every_byte) {
  for (const Format& format : kFormats) {
    const std::string bytes = fixture(format.small);
    for (size_t size = 0; size < bytes.size(); ++size)
      check_error(ErrorKind::input, "f:" + std::to_string(size) + ": " + format.ends_early,
                  [&] { decoded(bytes.substr(0, size), format.compression); });
    const std::string large = fixture(format.several);
    size_t whole = 0;  // a cut between two members leaves a whole file
    for (uint64_t i = 0; i < 200; ++i) {
      const size_t size = ratel::Rng(1).bits_at(i) % large.size();
      whole += ratel::test::succeeds_or_refuses([&] { decoded(large.substr(0, size), format.compression); });
    }
    BOOST_TEST(whole <= 2u);
  }
}

BOOST_AUTO_TEST_CASE(damage_is_found_or_harmless) {
  for (const Format& format : kFormats) {
    const std::string bytes = fixture(format.small);
    for (size_t at = 0; at < bytes.size(); ++at) {
      std::string bad = bytes;
      bad[at] = static_cast<char>(bad[at] ^ 0x55);
      std::string text;
      if (ratel::test::succeeds_or_refuses([&] { text = decoded(bad, format.compression); }))
        BOOST_TEST((text.empty() || text == lines(0, 40)), "other text from a change at " << at);
    }
    check_error(ErrorKind::input, format.damaged, [&] { decoded(bytes + "garbage", format.compression); });
    check_error(ErrorKind::input, std::string("f:0: ") + format.ends_early, [&] { decoded("", format.compression); });
    check_error(ErrorKind::input, format.damaged, [&] { decoded("plain text, and more", format.compression); });
  }
  check_error(ErrorKind::input, "damaged zstd data; expected a frame, found: Frame requires too much memory",
              [&] { decoded(fixture("window.zst"), Compression::zstd); });
}

BOOST_AUTO_TEST_CASE(files_and_what_is_none) {
  const TemporaryFolder folder;
  const auto stream = open_stream(folder.file("t", "text"));
  BOOST_TEST(drain(*stream, 3) == "text");
  BOOST_TEST(stream->position() == 4u);
  BOOST_TEST(drain(*open_stream(folder.file("empty", ""))).empty());
  check_error(ErrorKind::input, "none: not opened: No such file", [&] { open_stream(folder / "none"); });
  check_error(ErrorKind::input, "not read: it is a folder", [&] { open_stream(folder / ""); });
}

BOOST_AUTO_TEST_CASE(a_pipe_is_waited_for_until_it_ends_or_someone_says_stop) {
  const TemporaryFolder folder;
  const std::string pipe = folder / "pipe";
  BOOST_TEST_REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  {
    const auto stream = open_stream(pipe);  // before anybody writes
    std::thread writer([&] {
      const int out = open(pipe.c_str(), O_WRONLY);
      for (const std::string_view part : {"one ", "two"}) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        BOOST_TEST(write(out, part.data(), part.size()) == static_cast<ssize_t>(part.size()));
      }
      close(out);
    });
    BOOST_TEST(drain(*stream) == "one two");
    BOOST_TEST(!stream->interrupted());
    writer.join();
  }
  bool stop = false;
  const auto stream = decompressed(open_stream(pipe, [&] { return std::exchange(stop, true); }), Compression::gzip);
  BOOST_TEST(drain(*stream).empty());  // neither data nor an error: nothing came, and it was told to stop
  BOOST_TEST(stream->interrupted());
}
