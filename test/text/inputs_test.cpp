#include "text/inputs.h"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "test/io/support.h"

namespace fs = std::filesystem;
using ratel::Documents;
using ratel::ErrorKind;
using ratel::format_of;
using ratel::InputFile;
using ratel::InputFormat;
using ratel::list_inputs;
using ratel::parse_input_format;
using ratel::io::Compression;
using ratel::test::check_error;
using ratel::test::TemporaryFolder;
using Words = std::vector<std::string>;

namespace {

Words names_of(const std::vector<InputFile>& files, const std::string& below) {
  Words names;
  for (const InputFile& file : files) names.push_back(fs::path(file.path).lexically_relative(below));
  return names;
}

}  // namespace

BOOST_AUTO_TEST_CASE(names_say_the_format) {
  BOOST_TEST((format_of("a/b.txt") == InputFormat{}));
  BOOST_TEST((format_of("b") == InputFormat{}));
  BOOST_TEST((format_of("b.jsonl") == InputFormat{Documents::rows, Compression::none}));
  BOOST_TEST((format_of("b.jsonl.zst") == InputFormat{Documents::rows, Compression::zstd}));
  BOOST_TEST((format_of("b.jsonl.gz") == InputFormat{Documents::rows, Compression::gzip}));
  BOOST_TEST((format_of("b.md.gz") == InputFormat{Documents::whole, Compression::gzip}));
  BOOST_TEST((parse_input_format("txt.zst") == InputFormat{Documents::whole, Compression::zstd}));
  BOOST_TEST((parse_input_format("jsonl") == InputFormat{Documents::rows, Compression::none}));
  for (const char* bad : {"", "json", ".jsonl", "jsonl.zip", "zst"})
    check_error(ErrorKind::usage, "expected an input format txt or jsonl", [&] { parse_input_format(bad); });
}

BOOST_AUTO_TEST_CASE(folders_are_listed_at_any_depth_in_order) {
  const TemporaryFolder scratch;
  const std::string home = scratch / "home";
  for (const char* folder : {"home/b/deep", "home/.git", "home/empty", "other"})
    fs::create_directories(scratch / folder);
  for (const char* name : {"home/z.txt", "home/b/deep/r.jsonl.zst", "home/b.txt", "home/b/a.txt.gz", "home/x.md",
                           "home/.git/c.txt", "home/.hidden.txt", "other/far.txt"})
    (void)scratch.file(name, "12345");
  fs::create_symlink(scratch / "other/far.txt", home + "/link.txt");
  fs::create_directory_symlink(scratch / "other", home + "/link");
  fs::create_directory_symlink(home, home + "/circle");

  Words notes;
  const auto files = list_inputs(Words{home}, {}, [&](const std::string& what) { notes.push_back(what); });
  BOOST_TEST(names_of(files, home) == (Words{"b.txt", "b/a.txt.gz", "b/deep/r.jsonl.zst", "z.txt"}));
  BOOST_TEST((files[2].format == InputFormat{Documents::rows, Compression::zstd}));
  BOOST_TEST(*files[0].bytes == 5u);
  BOOST_TEST(notes.size() == 2u);
  BOOST_TEST(notes.front().find("left out 1 file not") != std::string::npos, notes.front());
  BOOST_TEST(notes.back().find("did not follow 3 symbolic links") != std::string::npos, notes.back());
  // A format takes every name; the compression of a name still counts.
  const auto all = list_inputs(Words{home}, InputFormat{Documents::rows, Compression::none});
  BOOST_TEST(names_of(all, home) == (Words{"b.txt", "b/a.txt.gz", "b/deep/r.jsonl.zst", "x.md", "z.txt"}));
  BOOST_TEST((all[1].format == InputFormat{Documents::rows, Compression::gzip}));
  // What is named itself is followed, in the order given, and may come twice.
  const auto named = list_inputs(Words{home + "/z.txt", home + "/link.txt", "-", home + "/z.txt"});
  BOOST_TEST(named.size() == 4u);
  BOOST_TEST(*named[1].bytes == 5u);
  BOOST_TEST(!named[2].bytes.has_value());

  check_error(ErrorKind::input, "none: no such file or folder", [&] { list_inputs(Words{scratch / "none"}); });
  check_error(ErrorKind::input, "expected files named .txt or .jsonl in this folder, found none",
              [&] { list_inputs(Words{home + "/empty"}); });
}
