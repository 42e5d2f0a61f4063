#include "io/metrics_file.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>

#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::Json;
using ratel::io::MetricsFile;
using ratel::io::parse_metrics;
using ratel::io::read_metrics;
using ratel::io::truncate_after;
using ratel::io::visit_metrics;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::TemporaryFolder;

BOOST_AUTO_TEST_CASE(rows_come_back) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  for (int run = 0; run < 2; ++run) {
    MetricsFile file(path);
    file.append(Json::object({{"step", run}, {"loss", 0.1}}));
    file.append(Json::object({{"step", run}, {"loss", std::nan("")}}));
    file.sync();
  }
  BOOST_TEST(content_of(path) ==
             "{\"step\":0,\"loss\":0.1}\n{\"step\":0,\"loss\":null}\n{\"step\":1,\"loss\":0.1}\n"
             "{\"step\":1,\"loss\":null}\n");
  const auto rows = read_metrics(path);
  BOOST_REQUIRE(rows.size() == 4u);
  BOOST_TEST(rows[2].at("step").as_int() == 1);
}

BOOST_AUTO_TEST_CASE(a_torn_last_line_is_left_out) {
  const TemporaryFolder folder;
  const std::string path = folder.file("m", "{\"step\":1}\n{\"step\":2}\n{\"st");
  BOOST_TEST(read_metrics(path).size() == 2u);
  MetricsFile(path).append(Json::object({{"step", 3}}));
  BOOST_TEST(content_of(path) == "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n");
  const std::string only = folder.file("n", "{\"st");
  BOOST_TEST(read_metrics(only).empty());
  MetricsFile(only).append(Json::object());
  BOOST_TEST(content_of(only) == "{}\n");
}

BOOST_AUTO_TEST_CASE(truncating) {
  const TemporaryFolder folder;
  const std::string path = folder.file(
      "m",
      "{\"step\":1, "
      "\"x\":0.10}\n{\"step\":2}\n{\"step\":3}\n{\"event\":1}\n{\"step\":\"1\"}\n{\"step\":2}\n{\"step\":1");
  truncate_after(path, 2);
  BOOST_TEST(content_of(path) == "{\"step\":1, \"x\":0.10}\n{\"step\":2}\n{\"step\":2}\n");
  truncate_after(path, -1);
  BOOST_TEST(content_of(path).empty());
  truncate_after(folder / "none", 2);
  BOOST_TEST(folder.count() == 1);
}

BOOST_AUTO_TEST_CASE(what_a_crash_left_after_the_step_is_cut_off) {
  const TemporaryFolder folder;
  const std::string good = "{\"step\":1}\n{\"step\":2}\n", zeros(40, '\0');
  for (const std::string& rest :
       {zeros + "\n", std::string("{\"step\":3}\n{\"st\n{\"step\":5}\n"), std::string("7\n")}) {
    const std::string path = folder.file("m", good + rest);
    check_error(ErrorKind::input, "m:", [&] { truncate_after(path, 9); });  // rows that the run needs are missing
    BOOST_TEST(content_of(path) == good + rest);
    truncate_after(path, 2);
    BOOST_TEST(content_of(path) == good);
    const std::string anew = folder.file("n", rest);
    truncate_after(anew, 0);
    BOOST_TEST(content_of(anew).empty());
  }
}

BOOST_AUTO_TEST_CASE(a_long_file_is_read_and_cut_piece_by_piece) {
  const TemporaryFolder folder;
  constexpr int64_t kRows = 40000;  // more than one buffer of truncate_after()
  std::string text, first_half;
  for (int64_t step = 1; step <= kRows; ++step) {
    text += Json::object({{"step", step}, {"text", "some thirty bytes beside the number"}}).dump() + '\n';
    if (step == kRows / 2) first_half = text;
  }
  const std::string path = folder.file("m", text + "{\"step\":");
  int64_t rows = 0;
  visit_metrics(path, [&](const Json& row) { BOOST_REQUIRE(row.at("step").as_int() == ++rows); });
  BOOST_TEST(rows == kRows);
  truncate_after(path, kRows);
  BOOST_TEST((content_of(path) == text));
  truncate_after(path, kRows / 2);
  BOOST_TEST((content_of(path) == first_half));
  BOOST_TEST(folder.count() == 1);
}

BOOST_AUTO_TEST_CASE(missing_rows_are_told) {
  const TemporaryFolder folder;
  const auto missing = [&](const std::vector<int64_t>& steps, int64_t step) {
    std::string text;
    for (const int64_t at : steps) text += "{\"step\":" + std::to_string(at) + "}\n";
    return truncate_after(folder.file("m", text), step);
  };
  BOOST_TEST(missing({1, 2, 3}, 3) == 0);
  BOOST_TEST(missing({1, 2, 2, 3, 4}, 3) == 0);  // a validation has its step's number; later rows go
  BOOST_TEST(missing({}, 3) == 3);
  BOOST_TEST(missing({1, 2}, 3) == 3);
  BOOST_TEST(missing({3}, 3) == 2);
  BOOST_TEST(missing({1, 2, 5, 6}, 6) == 4);
  BOOST_TEST(missing({}, 0) == 0);
  BOOST_TEST(truncate_after(folder / "none", 7) == 7);
}

BOOST_AUTO_TEST_CASE(bad_rows_are_named) {
  const TemporaryFolder folder;
  const std::string text = "{\"step\":1}\n{\"step\":}\n";
  check_error(ErrorKind::input, "m:2:8: ", [&] { parse_metrics(text, "m"); });
  check_error(ErrorKind::input, "bad:2:8: ", [&] { visit_metrics(folder.file("bad", text), [](const Json&) {}); });
  check_error(ErrorKind::input, "m:3: expected an object, found 7", [] { parse_metrics("{}\n{}\n7\n", "m"); });
  check_error(ErrorKind::input, "m:1:", [] { parse_metrics("\n", "m"); });
  const std::string path = folder.file("m", text);
  check_error(ErrorKind::input, ":2:8: ", [&] { truncate_after(path, 2); });
  BOOST_TEST(content_of(path) == text);
  check_error(ErrorKind::input, "No such file", [&] { read_metrics(folder / "none"); });
}

BOOST_AUTO_TEST_CASE(every_prefix_is_read) {
  const std::string text = "{\"step\":1,\"loss\":[1.5,null]}\n{\"step\":2}\n";
  for (size_t length = 0; length <= text.size(); ++length)
    BOOST_TEST(parse_metrics(std::string_view(text).substr(0, length), "m").size() == (length == text.size() ? 2u
                                                                                       : length > text.find('\n')
                                                                                           ? 1u
                                                                                           : 0u));
}

BOOST_AUTO_TEST_CASE(a_full_disk) {
  MetricsFile full("/dev/full");
  check_error(ErrorKind::disk, "/dev/full: not written: No space left", [&] {
    full.append(Json::object({{"step", 1}}));
  });
  const TemporaryFolder folder;
  check_error(ErrorKind::disk, "not opened for writing", [&] { MetricsFile file(folder / "none/m"); });
}
