// Event files taken apart byte by byte; what TensorBoard itself reads in them is in test/peers.
#include "io/tensorboard.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "test/io/support.h"

using ratel::ErrorKind;
using ratel::io::crc32c;
using ratel::io::EventFile;
using ratel::io::Scalar;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::TemporaryFolder;

namespace {

template <class T>
T fixed_at(std::string_view bytes, size_t at) {
  T value{};
  BOOST_REQUIRE(at + sizeof value <= bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

uint32_t masked(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

/// The events in a file, once the lengths and both checksums of every record were right.
std::vector<std::string> records_of(const std::string& path) {
  const std::string bytes = content_of(path);
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    const auto length = fixed_at<uint64_t>(bytes, at);
    BOOST_TEST(fixed_at<uint32_t>(bytes, at + 8) == masked(std::string_view(bytes).substr(at, 8)));
    records.push_back(bytes.substr(at + 12, length));
    BOOST_TEST(fixed_at<uint32_t>(bytes, at + 12 + length) == masked(records.back()));
    at += 16 + length;
  }
  return records;
}

/// A message taken apart: the fields in order, each a number's or text's bytes.
using Fields = std::vector<std::pair<uint64_t, std::string>>;
Fields fields_of(std::string_view message) {
  Fields fields;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = fixed_at<uint8_t>(message, at++);
      value |= uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.size()) {
    const uint64_t key = varint();
    const size_t sizes[] = {0, 8, 0, 0, 0, 4};
    std::string value;
    if (key % 8 == 0)
      value = std::to_string(static_cast<int64_t>(varint()));
    else {
      const uint64_t length = key % 8 == 2 ? varint() : sizes[key % 8];
      value = message.substr(at, length);
      at += length;
    }
    fields.emplace_back(key / 8, value);
  }
  return fields;
}
std::string field(const Fields& fields, uint64_t number) {
  for (const auto& [key, value] : fields)
    if (key == number) return value;
  return "none";
}

std::vector<std::string> event_paths(const std::string& folder) {
  std::vector<std::string> paths = ratel::io::paths_in(folder);
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_checksum_is_castagnolis) {
  BOOST_TEST(crc32c("123456789") == 0xe3069283U);  // the check value of its catalogues
  BOOST_TEST(crc32c("") == 0U);
  BOOST_TEST(crc32c(std::string(32, '\0')) == 0x8a9136aaU);  // RFC 3720, B.4
  BOOST_TEST(crc32c(std::string(32, '\xff')) == 0x62a8ab43U);
}

BOOST_AUTO_TEST_CASE(a_file_opens_with_its_version_and_the_first_step) {
  const TemporaryFolder folder;
  { EventFile file(folder / "", 101); }
  const auto records = records_of(event_paths(folder / "").at(0));
  BOOST_REQUIRE(records.size() == 2u);
  BOOST_TEST(field(fields_of(records[0]), 3) == "brain.Event:2");
  const Fields start = fields_of(records[1]);
  BOOST_TEST(field(start, 2) == "101");
  BOOST_TEST(field(fields_of(field(start, 7)), 1) == "1");  // SessionLog.START
  BOOST_TEST(fixed_at<double>(field(start, 1), 0) > 1.7e9);
}

BOOST_AUTO_TEST_CASE(scalars_and_texts_come_back) {
  const TemporaryFolder folder;
  EventFile file(folder / "", 1);
  const std::string long_text(300, 'x');  // a length of two bytes
  const std::vector<Scalar> values{{"loss/dense", 1.25}, {"gradient_norm", std::numeric_limits<double>::quiet_NaN()}};
  file.scalars(int64_t{1} << 40, values);
  file.text(7, "config", long_text);
  file.sync();
  const auto records = records_of(event_paths(folder / "").at(0));
  BOOST_REQUIRE(records.size() == 4u);
  const Fields scalars = fields_of(records[2]);
  BOOST_TEST(field(scalars, 2) == std::to_string(int64_t{1} << 40));
  const Fields summary = fields_of(field(scalars, 5));
  BOOST_REQUIRE(summary.size() == 2u);
  BOOST_TEST(field(fields_of(summary[0].second), 1) == "loss/dense");
  BOOST_TEST(fixed_at<float>(field(fields_of(summary[0].second), 2), 0) == 1.25F);
  BOOST_TEST(std::isnan(fixed_at<float>(field(fields_of(summary[1].second), 2), 0)));

  const Fields value = fields_of(field(fields_of(field(fields_of(records[3]), 5)), 1));
  BOOST_TEST(field(value, 1) == "config");
  BOOST_TEST(field(fields_of(field(fields_of(field(value, 9)), 1)), 1) == "text");
  const Fields tensor = fields_of(field(value, 8));
  BOOST_TEST(field(tensor, 1) == "7");  // DT_STRING
  BOOST_TEST(field(fields_of(field(fields_of(field(tensor, 2)), 2)), 1) == "1");
  BOOST_TEST(field(tensor, 8) == long_text);
}

BOOST_AUTO_TEST_CASE(every_session_has_a_file_after_all_others) {
  const TemporaryFolder folder;
  const std::string future = folder.file("events.out.tfevents.9999999997", "");  // a clock that was wrong
  std::ignore = folder.file("events.out.tfevents.other.host", "");
  { EventFile first(folder / "", 1); }
  { EventFile second(folder / "", 5); }
  const auto paths = event_paths(folder / "");
  BOOST_REQUIRE(paths.size() == 4u);
  BOOST_TEST(content_of(future).empty());
  BOOST_TEST(field(fields_of(records_of(paths[1])[1]), 2) == "1");
  BOOST_TEST(field(fields_of(records_of(paths[2])[1]), 2) == "5");
  BOOST_TEST(paths[2].ends_with(".9999999999"));
}

BOOST_AUTO_TEST_CASE(a_folder_that_is_not_there) {
  const TemporaryFolder folder;
  check_error(ErrorKind::disk, "not opened for writing", [&] { EventFile(folder / "none", 1); });
}
