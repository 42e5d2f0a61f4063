#include "io/file.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <boost/test/unit_test.hpp>
#include <csignal>
#include <filesystem>
#include <span>
#include <string>

#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::AtomicFile;
using ratel::io::free_space;
using ratel::io::fsync_directory;
using ratel::io::is_folder;
using ratel::io::MappedFile;
using ratel::io::Mapping;
using ratel::io::OutputFile;
using ratel::io::path_exists;
using ratel::io::path_inside;
using ratel::io::paths_in;
using ratel::io::read_file;
using ratel::io::read_text_file;
using ratel::io::require_free_space;
using ratel::io::write_file_atomically;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::TemporaryFolder;

namespace {

/// Files of this process cannot grow beyond `bytes`: a write across it is short, and the next one is refused.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    BOOST_REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

}  // namespace

BOOST_AUTO_TEST_CASE(mapping_a_file) {
  const TemporaryFolder folder;
  const MappedFile file = MappedFile::open(folder.file("a", "hello"));
  BOOST_TEST(file.text() == "hello");
  BOOST_TEST(file.bytes().size() == 5u);
  BOOST_TEST(file.path() == folder / "a");
}

BOOST_AUTO_TEST_CASE(mapping_an_empty_file) {
  const TemporaryFolder folder;
  const MappedFile file = MappedFile::open(folder.file("a", ""));
  BOOST_TEST(file.bytes().empty());
  BOOST_TEST((file.owner() != nullptr));
}

BOOST_AUTO_TEST_CASE(the_owner_outlives_the_file_object) {
  const TemporaryFolder folder;
  std::shared_ptr<void> owner;
  std::string_view text;
  {
    const MappedFile file = MappedFile::open(folder.file("a", "still here"));
    owner = file.owner();
    text = file.text();
  }
  BOOST_TEST(text == "still here");
}

BOOST_AUTO_TEST_CASE(writing_to_a_private_copy_leaves_the_file) {
  const TemporaryFolder folder;
  const MappedFile file = MappedFile::open(folder.file("a", "hello"), Mapping::private_copy);
  const_cast<std::byte&>(file.bytes()[0]) = std::byte{'j'};
  BOOST_TEST(file.text() == "jello");
  BOOST_TEST(content_of(folder / "a") == "hello");
}

BOOST_AUTO_TEST_CASE(what_cannot_be_mapped) {
  const TemporaryFolder folder;
  check_error(ErrorKind::input, "No such file", [&] { MappedFile::open(folder / "none"); });
  check_error(ErrorKind::input, "expected a regular file, found a folder", [&] { MappedFile::open(folder / ""); });
  check_error(ErrorKind::input, "found a special file", [&] { MappedFile::open("/dev/null"); });
  BOOST_REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  check_error(ErrorKind::input, "found a special file", [&] { MappedFile::open(folder / "pipe"); });
}

BOOST_AUTO_TEST_CASE(looking_up_what_is_there) {
  const TemporaryFolder folder;
  const std::string file = folder.file("a", "hello"), loop = folder / "loop";
  std::filesystem::create_symlink("loop", loop);
  std::filesystem::create_symlink(".", folder / "here");
  BOOST_TEST((path_exists(file) && !is_folder(file)));
  BOOST_TEST((path_exists(folder / "here") && is_folder(folder / "here")));
  BOOST_TEST((!path_exists(folder / "none") && !path_exists(file + "/none") && !is_folder(file + "/none")));
  check_error(ErrorKind::input, "Too many levels of symbolic links", [&] { (void)path_exists(loop); });
  check_error(ErrorKind::input, "File name too long", [&] { (void)is_folder(std::string(300, 'n')); });

  BOOST_TEST(paths_in(folder / "").size() == 3u);
  BOOST_TEST((paths_in(folder / "none").empty() && paths_in(file).empty()));
  check_error(ErrorKind::input, "Too many levels of symbolic links", [&] { (void)paths_in(loop); });
}

BOOST_AUTO_TEST_CASE(a_link_out_of_a_folder) {
  const TemporaryFolder folder, other;
  const std::string home = folder / "home";
  write_file_atomically(folder / "home2", "beside");
  std::filesystem::create_directory(home);
  for (const char* to : {"../home2", ".."}) {
    std::filesystem::remove(home + "/a");
    std::filesystem::create_symlink(to, home + "/a");
    check_error(ErrorKind::input, home + "/a: expected a file of this folder, found a link",
                [&] { (void)path_inside(home, "a"); });
  }
  std::filesystem::create_symlink("b", home + "/c");
  BOOST_TEST(path_inside(home, "c") == home + "/c");  // leads nowhere
  write_file_atomically(home + "/b", "x");
  BOOST_TEST(path_inside(home, "c") == home + "/c");
  std::filesystem::create_symlink(home, other / "link");
  BOOST_TEST(path_inside(other / "link", "c") == other / "link/c");
  BOOST_TEST(path_inside(folder / "none", "c") == folder / "none/c");
}

BOOST_AUTO_TEST_CASE(reading_text_up_to_a_limit) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a", "hello");
  BOOST_TEST(read_text_file(path, 5) == "hello");
  check_error(ErrorKind::input, "expected at most 4 bytes, found 5", [&] { (void)read_text_file(path, 4); });
}

BOOST_AUTO_TEST_CASE(atomic_writes_replace) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a", "one");
  write_file_atomically(folder / "a", "");
  BOOST_TEST(content_of(folder / "a").empty());
  write_file_atomically(folder / "a", "three");
  BOOST_TEST(content_of(folder / "a") == "three");
  BOOST_TEST(folder.count() == 1);
}

BOOST_AUTO_TEST_CASE(without_commit_nothing_changes) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a", "before");
  {
    AtomicFile file(path);
    file.write("after");
    BOOST_TEST(folder.count() == 2);
  }
  BOOST_TEST(content_of(path) == "before");
  BOOST_TEST(folder.count() == 1);
}

BOOST_AUTO_TEST_CASE(two_do_not_write_one_file) {
  const TemporaryFolder folder;
  const std::string path = folder / "a", other = "a.tmp: it is being written already";
  {
    AtomicFile first(path);
    first.write("first");
    check_error(ErrorKind::disk, other, [&] { AtomicFile second(path); });
    first.prepare();  // closed, but not renamed yet
    check_error(ErrorKind::disk, other, [&] { AtomicFile second(path); });
    first.commit();
    write_file_atomically(path, "second");  // the name is free again
  }
  BOOST_TEST(content_of(path) == "second");
  // What a process that was killed has left is written over.
  (void)folder.file("a.tmp", "much more than what follows");
  write_file_atomically(path, "third");
  BOOST_TEST(content_of(path) == "third");
  BOOST_TEST(folder.count() == 1);
  // But nothing that is no file of its own: a pipe would block, and a link lead elsewhere.
  BOOST_REQUIRE(::mkfifo((path + ".tmp").c_str(), 0600) == 0);
  check_error(ErrorKind::disk, "a.tmp: ", [&] { write_file_atomically(path, "fourth"); });
  std::filesystem::remove(path + ".tmp");
  std::filesystem::create_symlink(folder.file("target", "untouched"), path + ".tmp");
  check_error(ErrorKind::disk, "a.tmp: not opened for writing: ", [&] { write_file_atomically(path, "fourth"); });
  BOOST_TEST((content_of(path) == "third" && content_of(folder / "target") == "untouched"));
}

BOOST_AUTO_TEST_CASE(reading_piece_by_piece) {
  const TemporaryFolder folder;
  for (const size_t size : {size_t{0}, size_t{1}, size_t{3} << 20, (size_t{3} << 20) + 5}) {
    std::string text(size, 'x');
    if (size > 0) text.front() = 'a', text.back() = 'z';
    const std::string path = folder.file("a", text);
    std::string found;
    read_file(path, [&](std::span<const std::byte> piece) {
      found.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    });
    BOOST_TEST((found == text), size);
  }
  const auto nothing = [](std::span<const std::byte>) {};
  check_error(ErrorKind::input, "not opened: No such file", [&] { read_file(folder / "none", nothing); });
  check_error(ErrorKind::input, "found a folder", [&] { read_file(folder / "", nothing); });
}

BOOST_AUTO_TEST_CASE(no_descriptor_left_says_nothing_of_a_file) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a", "text");
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  std::string what;
  ErrorKind kind{};
  try {
    MappedFile::open(path);
  } catch (const ratel::Error& error) {
    what = error.what(), kind = error.kind();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  BOOST_TEST((kind == ErrorKind::memory));
  BOOST_TEST(what.find("/a: not opened: Too many open files") != std::string::npos, what);
}

BOOST_AUTO_TEST_CASE(a_full_disk) {
  OutputFile full("/dev/full", OutputFile::Mode::append);
  check_error(ErrorKind::disk, "/dev/full: not written: No space left on device", [&] { full.write("x"); });
}

BOOST_AUTO_TEST_CASE(a_write_that_stops_half_way) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a", "before");
  {
    const FileSizeLimit limit(1000);
    check_error(ErrorKind::disk, "File too large", [&] { write_file_atomically(path, std::string(1500, 'x')); });
    OutputFile file(folder / "b", OutputFile::Mode::exclusive);
    check_error(ErrorKind::disk, "File too large", [&] { file.write(std::string(1500, 'x')); });
  }
  BOOST_TEST(content_of(path) == "before");
  BOOST_TEST(content_of(folder / "b") == std::string(1000, 'x'));
  BOOST_TEST(folder.count() == 2);
}

BOOST_AUTO_TEST_CASE(where_nothing_can_be_written) {
  const TemporaryFolder folder;
  check_error(ErrorKind::disk, "No such file", [&] { write_file_atomically(folder / "none/a", "x"); });
  check_error(ErrorKind::disk, "not opened", [&] { fsync_directory(folder / "none"); });
  check_error(ErrorKind::disk, "Not a directory", [&] { fsync_directory(folder.file("a", "")); });
  std::filesystem::create_directory(folder / "folder");
  check_error(ErrorKind::disk, "not renamed", [&] { write_file_atomically(folder / "folder", "x"); });
  BOOST_TEST(folder.count() == 2);
  fsync_directory(folder / "");
}

BOOST_AUTO_TEST_CASE(appending) {
  const TemporaryFolder folder;
  for (const char* text : {"one ", "two"}) {
    OutputFile file(folder / "a", OutputFile::Mode::append);
    file.write(std::string_view(text));
    file.sync();
    file.close();
  }
  BOOST_TEST(content_of(folder / "a") == "one two");
}

BOOST_AUTO_TEST_CASE(free_space_of_what_does_not_exist_yet) {
  const TemporaryFolder folder;
  BOOST_TEST(free_space(folder / "") > 0u);
  BOOST_TEST(free_space(folder / "not/yet/there") > 0u);
  BOOST_TEST(free_space("not_yet_there") > 0u);
  BOOST_TEST(free_space("/not_yet_there") > 0u);
  check_error(ErrorKind::input, "Not a directory", [&] { (void)free_space(folder.file("a", "") + "/b"); });
  require_free_space(folder / "a", 1, "it needs");
  check_error(ErrorKind::disk, "/b: it needs 18446744073709551615 bytes, found ",
              [&] { require_free_space(folder / "b", ~uint64_t{0}, "it needs"); });
  // Its headers count, and are in the bytes that it says: what others write in between is far less.
  check_error(ErrorKind::disk, "/b: it needs ",
              [&] { require_free_space(folder / "b", free_space(folder / "b") - 1000, "it needs"); });
  BOOST_CHECK_EXCEPTION(
      require_free_space(folder / "b", ~uint64_t{0}, "it needs", "make room"), ratel::Error,
      [](const ratel::Error& error) { return std::string_view(error.what()).ends_with(" free\nhint: make room"); });
}
