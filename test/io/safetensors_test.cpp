#include "io/safetensors.h"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "io/json.h"
#include "io/limits.h"
#include "test/io/support.h"

using ratel::DType;
using ratel::ErrorKind;
using ratel::Shape;
using ratel::Tensor;
using ratel::io::Json;
using ratel::io::kSafetensorsHeaderBytes;
using ratel::io::kSafetensorsTensors;
using ratel::io::Metadata;
using ratel::io::parse_safetensors;
using ratel::io::SafetensorsFile;
using ratel::io::SafetensorsIndex;
using ratel::io::save_safetensors;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::TemporaryFolder;

namespace {

using Named = std::vector<ratel::NamedTensor>;

/// A file of this header and data.
std::string file_of(std::string_view header, std::string_view data = {}) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file.append(header).append(data);
}

SafetensorsIndex parse(std::string_view file) {
  const auto copy = ratel::test::exact_copy(file);
  return parse_safetensors(std::as_bytes(std::span(copy)), "f");
}

void check_refused(std::string_view header, std::string_view data, std::string_view part) {
  BOOST_TEST_CONTEXT("header: " << header.substr(0, 200)) {
    check_error(ErrorKind::input, part, [&] { parse(file_of(header, data)); });
    check_error(ErrorKind::input, "f:", [&] { parse(file_of(header, data)); });
  }
}

/// {"a": {"dtype": ..., "shape": ..., "data_offsets": ...}}
std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return ratel::concat_text(R"({"a":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)", offsets, "}}");
}

Tensor counting(const Shape& shape, DType dtype) {
  std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), 1);
  return ratel::from_vector(values, shape, dtype);
}

void check_same(const Tensor& a, const Tensor& b) {
  BOOST_TEST(a.shape() == b.shape());
  BOOST_TEST(a.dtype() == b.dtype());
  BOOST_TEST(ratel::to_vector<double>(a) == ratel::to_vector<double>(b));
}

constexpr DType kAll[] = {DType::f64, DType::f32, DType::bf16, DType::i64, DType::i32, DType::u16, DType::u8};

/// A small file with everything in it.
std::string sample() {
  const TemporaryFolder folder;
  save_safetensors(
      folder / "f",
      {{"x", counting({3}, DType::u8)}, {"y", counting({2, 2}, DType::f32)}, {"z", counting({0}, DType::i64)}},
      {{"key", "value"}});
  return content_of(folder / "f");
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_dtype_and_rank_comes_back) {
  const TemporaryFolder folder;
  Named tensors;
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3}, Shape{0}, Shape{2, 0, 3}, Shape{1, 2, 1, 2, 1, 2, 1, 3}})
    for (const DType dtype : kAll) tensors.push_back({ratel::concat_text(shape, ".", dtype), counting(shape, dtype)});
  save_safetensors(folder / "f", tensors, {{"b", "2"}, {"a", "ü \"1\"\n"}});

  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  BOOST_TEST((file.metadata() == Metadata{{"a", "ü \"1\"\n"}, {"b", "2"}}));
  const auto names = file.names();
  BOOST_REQUIRE(names.size() == tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) BOOST_TEST_CONTEXT(tensors[i].name) {
      BOOST_TEST(names[i] == tensors[i].name);
      check_same(file.tensor(names[i]), tensors[i].tensor);
      BOOST_TEST(file.entries()[i].begin % ratel::size_of(tensors[i].tensor.dtype()) == 0u);
    }
  BOOST_TEST(folder.count() == 1);
}

BOOST_AUTO_TEST_CASE(values_are_kept_bit_by_bit) {
  const TemporaryFolder folder;
  const Tensor x = ratel::from_vector<double>({0.1, -0.0, 5e-324, -1e308}, {4});
  const Tensor y = ratel::from_vector<int64_t>({INT64_MIN, INT64_MAX}, {2});
  save_safetensors(folder / "f", {{"x", x}, {"y", y}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  BOOST_TEST(std::memcmp(file.tensor("x").data(), x.data(), 32) == 0);
  BOOST_TEST(std::memcmp(file.tensor("y").data(), y.data(), 16) == 0);
}

BOOST_AUTO_TEST_CASE(the_file_is_what_the_format_says) {
  const TemporaryFolder folder;
  save_safetensors(folder / "f", {{"b", counting({3}, DType::u8)}, {"a", counting({1, 2}, DType::u16)}}, {{"k", "v"}});
  const std::string header = R"({"__metadata__":{"k":"v"},"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]},)"
                             R"("a":{"dtype":"U16","shape":[1,2],"data_offsets":[0,4]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  BOOST_TEST((content_of(folder / "f") == file_of(padded, std::string_view("\1\0\2\0\1\2\3", 7))));
}

BOOST_AUTO_TEST_CASE(a_file_without_tensors) {
  const TemporaryFolder folder;
  save_safetensors(folder / "f", {});
  BOOST_TEST(SafetensorsFile::open(folder / "f").names().empty());
  BOOST_TEST(parse(file_of("{}")).tensors.empty());
}

BOOST_AUTO_TEST_CASE(views_are_saved_in_row_major_order) {
  const TemporaryFolder folder;
  const Tensor x = counting({300, 700}, DType::f64);  // more than one piece
  const Tensor transposed = view_of(x, x.layout().transposed(0, 1));
  const Tensor rows = view_of(x, x.layout().sliced(0, 100, 200));
  const Tensor stretched =
      view_of(counting({3, 1}, DType::u8), counting({3, 1}, DType::u8).layout().broadcast_to({3, 4}, "t"));
  save_safetensors(folder / "f", {{"t", transposed}, {"r", rows}, {"s", stretched}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  check_same(file.tensor("t"), transposed);
  check_same(file.tensor("r"), rows);
  check_same(file.tensor("s"), stretched);
  BOOST_TEST(file.tensor("t").is_contiguous());
}

BOOST_AUTO_TEST_CASE(looking_up) {
  const TemporaryFolder folder;
  save_safetensors(folder / "f", {{"b", counting({2}, DType::f32)}, {"a", counting({3}, DType::u8)}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  BOOST_TEST(file.contains("a"));
  BOOST_TEST(!file.contains(""));
  BOOST_TEST(!file.contains("aa"));
  BOOST_TEST(!file.contains("c"));
  BOOST_REQUIRE((file.find("b") != nullptr));
  BOOST_TEST(file.find("b")->shape == Shape{2});
  check_error(ErrorKind::input, "no tensor \"c\"", [&] { (void)file.tensor("c"); });
  check_error(ErrorKind::input, "No such file", [&] { SafetensorsFile::open(folder / "none"); });
}

BOOST_AUTO_TEST_CASE(tensors_lie_in_the_mapping_and_outlive_the_file) {
  const TemporaryFolder folder;
  const std::string path = folder / "f";
  save_safetensors(path, {{"x", counting({4}, DType::f32)}});
  const std::string before = content_of(path);
  Tensor x, same;
  {
    const SafetensorsFile file = SafetensorsFile::open(path);
    x = file.tensor("x");
    same = file.tensor("x");
  }
  BOOST_TEST(x.data() == same.data());
  BOOST_TEST(!x.solely_owned());
  x.data<float>()[0] = 77;
  BOOST_TEST(ratel::to_vector<float>(same).front() == 77);
  BOOST_TEST(content_of(path) == before);
  BOOST_TEST(ratel::to_vector<float>(SafetensorsFile::open(path).tensor("x")).front() == 1);
}

BOOST_AUTO_TEST_CASE(a_tensor_that_is_not_aligned_is_copied) {
  const TemporaryFolder folder;
  std::string data(9, '\0');
  const std::array<float, 2> values{1.5f, -2.5f};
  std::memcpy(data.data() + 1, values.data(), 8);
  std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  const Tensor b = SafetensorsFile::open(folder.file("f", file_of(header, data))).tensor("b");
  BOOST_TEST(reinterpret_cast<uintptr_t>(b.data()) % 4 == 0u);
  BOOST_TEST(ratel::to_vector<float>(b) == (std::vector<float>{1.5f, -2.5f}));
}

BOOST_AUTO_TEST_CASE(goldens_load) {
  int64_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(RATEL_SOURCE_DIR "/test/golden")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    const SafetensorsFile file = SafetensorsFile::open(entry.path());
    BOOST_TEST(file.entries().size() >= 4u);
    bool finite = true;
    for (const auto& name : file.names())
      for (const double value : ratel::to_vector<double>(file.tensor(name))) finite = finite && std::isfinite(value);
    BOOST_TEST(finite);
  }
  BOOST_TEST(files >= 16);
  const SafetensorsFile model = SafetensorsFile::open(RATEL_SOURCE_DIR "/test/golden/model_1.safetensors");
  BOOST_TEST(model.metadata().at("dilation") == "4");
  BOOST_TEST(model.tensor("tokens").dtype() == DType::i64);
  BOOST_TEST(model.names().front() == "tokens");
}

BOOST_AUTO_TEST_CASE(saving_a_golden_again_gives_the_same_tensors) {
  const TemporaryFolder folder;
  const SafetensorsFile golden = SafetensorsFile::open(RATEL_SOURCE_DIR "/test/golden/model_8.safetensors");
  save_safetensors(folder / "f", golden.tensors(), golden.metadata());
  const SafetensorsFile again = SafetensorsFile::open(folder / "f");
  BOOST_TEST((again.metadata() == golden.metadata()));
  BOOST_TEST(again.names() == golden.names());
  for (const auto& [name, tensor] : golden.tensors()) check_same(again.tensor(name), tensor);
}

BOOST_AUTO_TEST_CASE(header_lengths) {
  check_error(ErrorKind::input, "f:0: no room for the header's length", [] { parse("1234567"); });
  const auto with_length = [](uint64_t length) {
    std::string file = file_of("{}");
    std::memcpy(file.data(), &length, 8);
    return file;
  };
  check_error(ErrorKind::input, "f:0: file ends inside its header; expected 3 bytes of it, found 2",
              [&] { parse(with_length(3)); });
  for (const uint64_t length : {kSafetensorsHeaderBytes + 1, uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 7})
    check_error(ErrorKind::input, "f:0: header too long", [&] { parse(with_length(length)); });
  check_error(ErrorKind::input, "f:8: expected a header that begins with {", [&] { parse(with_length(0)); });
  check_error(ErrorKind::input, "f:9: ", [&] { parse(with_length(1)); });
}

BOOST_AUTO_TEST_CASE(headers_that_are_no_header) {
  check_refused("[]", "", "f:8: expected a header that begins with {");
  check_refused(" {}", "", "begins with {");
  check_refused("{} x", "", "f:11: ");
  check_refused({"{}\0\0", 4}, "", "zero byte");
  check_refused("{\"a\":1}", "", "f:12: tensor \"a\": expected an object, found 1");
  check_refused(R"({"a":{"dtype":"U8","shape":[1]}})", "x", "expected a member \"data_offsets\"");
  check_refused(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", "x", "expected a member \"shape\"");
  check_refused(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", "x", "expected a member \"dtype\"");
  check_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":1}})", "x", "unknown member");
  check_refused(one("U8", "1", "[0,1]"), "x", "shape: expected an array");
  check_refused(one("U8", "[1.0]", "[0,1]"), "x", "shape: expected an integer");
  check_refused(one("U8", "[1]", "[0,1,1]"), "x", "data_offsets; expected 2, found 3");
  check_refused(one("U8", "[1]", "[\"0\",1]"), "x", "data_offsets: expected an integer");
  BOOST_TEST(parse(file_of("{}   \n ")).tensors.empty());
}

BOOST_AUTO_TEST_CASE(dtypes) {
  for (const char* name : {"f16", "BOOL", "F8_E4M3", "I8", "U64", "f32", ""})
    check_refused(one(name, "[1]", "[0,1]"), "x", "unknown dtype; expected F64, F32, F16, BF16");
}

BOOST_AUTO_TEST_CASE(halves_are_read_as_floats) {
  const TemporaryFolder folder;
  for (const std::string begin : {"0", "1"}) {  // at any address
    const std::string end = begin == "0" ? "10" : "11";
    std::string header = begin == "0" ? "{" : R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)";
    header.append(R"("a":{"dtype":"F16","shape":[5,1],"data_offsets":[)")
        .append(begin)
        .append(",")
        .append(end)
        .append("]}}");
    header.append((8 - header.size() % 8) % 8, ' ');
    std::string data(begin == "0" ? 0 : 1, 'x');
    data.append("\0\x3c\0\xc0\xff\x7b\1\0\0\x80", 10);
    const SafetensorsFile file = SafetensorsFile::open(folder.file("f", file_of(header, data)));
    BOOST_TEST(file.find("a")->is_half);
    const Tensor a = file.tensor("a");
    BOOST_TEST((a.dtype() == DType::f32 && file.find("a")->dtype == DType::f32));
    BOOST_TEST(a.shape() == (Shape{5, 1}));
    BOOST_TEST(ratel::to_vector<float>(a) == (std::vector<float>{1, -2, 65504, 0x1p-24f, -0.0f}));
  }
  check_refused(one("F16", "[2]", "[0,8]"), "12345678", "shape (2) of f16; expected 4 bytes, found 8");
  check_refused(one("F16", "[4611686018427387904]", "[0,0]"), "", "more bytes than 63 bits can count");
}

BOOST_AUTO_TEST_CASE(keys_twice) {
  check_refused(
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
      "xy", "the key \"a\" appears twice");
  check_refused(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x", "appears twice");
  check_refused(R"({"__metadata__":{},"__metadata__":{}})", "", "appears twice");
}

BOOST_AUTO_TEST_CASE(names) {
  const auto named = [](std::string_view name) {
    return ratel::concat_text("{", Json(name).dump(), R"(:{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})");
  };
  BOOST_TEST(parse(file_of(named("layers.0.wéight/x"), "x")).tensors.size() == 1u);
  check_refused(named(""), "x", "is empty");
  check_refused(named("/etc/passwd"), "x", "is an absolute path");
  check_refused(named("a/../b"), "x", "contains \"..\"");
  check_refused(named(".."), "x", "contains \"..\"");
  check_refused(named("a\nb"), "x", R"("a\x0ab" contains a control character)");
  check_refused(named("a\x1b[2J"), "x", "control character");
  check_refused("{\"a\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", "x", "UTF-8");
}

BOOST_AUTO_TEST_CASE(sizes) {
  check_refused(one("F32", "[2]", "[0,4]"), "wxyz", "size disagrees with shape (2) of f32; expected 8 bytes, found 4");
  check_refused(one("U8", "[]", "[0,0]"), "", "expected 1 bytes, found 0");
  check_refused(one("U8", "[0]", "[0,1]"), "x", "expected 0 bytes, found 1");
  check_refused(one("U8", "[-1]", "[0,1]"), "x", "expected sizes of at least 0, found -1");
  check_refused(one("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), "x", "too many axes; expected at most 8, found 9");
  for (const char* shape :
       {"[4294967296,4294967296]", "[4611686018427387904,4]", "[9223372036854775807,2]", "[2,9223372036854775807]",
        "[0,9223372036854775807,9223372036854775807]", "[9223372036854775807,9223372036854775807,0]"})
    check_refused(one("U8", shape, "[0,0]"), "", "more bytes than 63 bits can count");
  check_refused(one("F64", "[2305843009213693952]", "[0,0]"), "", "more bytes than 63 bits can count");
  check_refused(one("U8", "[9223372036854775808]", "[0,0]"), "", "expected an integer");
}

BOOST_AUTO_TEST_CASE(ranges) {
  BOOST_TEST(parse(file_of(one("U8", "[1]", "[0,1]"), "x")).tensors.size() == 1u);
  check_refused(one("U8", "[1]", "[1,0]"), "x", "data_offsets go backwards");
  check_refused(one("U8", "[1]", "[-1,0]"), "x", "expected sizes of at least 0, found -1");
  check_refused(one("U8", "[2]", "[0,2]"), "x", "tensor \"a\" reaches beyond the file; expected data up to 1, found 2");
  check_refused(one("U8", "[1]", "[9223372036854775806,9223372036854775807]"), "x", "reaches beyond the file");
  check_refused(one("U8", "[1]", "[0,1]"), "xy", "bytes after the last tensor");
  check_refused("{}", "x", "f:10: bytes after the last tensor; expected a file of 10 bytes, found 11");
  check_refused(one("U8", "[1]", "[1,2]"), "xy", "tensor \"a\" leaves a hole");

  const auto two = [](std::string_view a, std::string_view b) {
    return ratel::concat_text(R"({"a":{"dtype":"U8","shape":[)", a, R"(]},"b":{"dtype":"U8","shape":[)", b, "]}}");
  };
  check_refused(two(R"(2],"data_offsets":[0,2)", R"(2],"data_offsets":[1,3)"), "xyz", "tensor \"b\" overlaps");
  check_refused(two(R"(2],"data_offsets":[0,2)", R"(2],"data_offsets":[0,2)"), "xy", "overlaps");
  check_refused(two(R"(3],"data_offsets":[0,3)", R"(1],"data_offsets":[1,2)"), "xyz", "overlaps");
  check_refused(two(R"(1],"data_offsets":[0,1)", R"(1],"data_offsets":[2,3)"), "xyz", "tensor \"b\" leaves a hole");
  check_refused(two(R"(3],"data_offsets":[0,3)", R"(0],"data_offsets":[1,1)"), "xyz", "overlaps");
  check_refused(two(R"(1],"data_offsets":[0,1)", R"(0],"data_offsets":[5,5)"), "x", "reaches beyond the file");
  // The order of the header is free, and empty tensors may lie at either end and between.
  BOOST_TEST(parse(file_of(two(R"(2],"data_offsets":[1,3)", R"(1],"data_offsets":[0,1)"), "xyz")).tensors.size() == 2u);
  for (const char* empty : {R"(0],"data_offsets":[0,0)", R"(0],"data_offsets":[2,2)"})
    BOOST_TEST(parse(file_of(two(R"(2],"data_offsets":[0,2)", empty), "xy")).tensors.size() == 2u);
}

BOOST_AUTO_TEST_CASE(metadata_is_a_map_of_strings) {
  check_refused(R"({"__metadata__":[]})", "", "__metadata__: expected an object");
  check_refused(R"({"__metadata__":{"k":1}})", "", "__metadata__.k: expected a string, found 1");
  check_refused(R"({"__metadata__":{"k":{"a":"b"}}})", "", "__metadata__.k: expected a string");
  check_refused(R"({"__metadata__":{"k":"1","k":"2"}})", "", "appears twice");
}

BOOST_AUTO_TEST_CASE(too_many_tensors) {
  std::string header = "{";
  for (size_t i = 0; i <= kSafetensorsTensors; ++i)
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  const std::string file = file_of(header + "}");
  check_error(ErrorKind::input, "too many tensors; expected at most 1000000", [&] { parse(file); });
}

BOOST_AUTO_TEST_CASE(every_prefix_and_every_longer_file_is_refused) {
  const std::string file = sample();
  BOOST_TEST(parse(file).tensors.size() == 3u);
  for (size_t length = 0; length < file.size(); ++length)
    check_error(ErrorKind::input, "f:", [&] { parse(file.substr(0, length)); });
  check_error(ErrorKind::input, "bytes after the last tensor", [&] { parse(file + '\0'); });
}

BOOST_AUTO_TEST_CASE(long_files_cut_short_at_random_places) {
  const std::string whole = content_of(RATEL_SOURCE_DIR "/test/golden/model_1.safetensors");
  const auto cut_at = [&](size_t length) {
    check_error(ErrorKind::input, "f:", [&] { parse(std::string_view(whole).substr(0, length)); });
  };
  BOOST_TEST(whole.size() > 10'000u);
  for (size_t length = 0; length < 4096; ++length) cut_at(length);
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) cut_at(random() % whole.size());
}

BOOST_AUTO_TEST_CASE(flipped_bits_never_crash) {
  const TemporaryFolder folder;
  const std::string file = sample();
  size_t accepted = 0;
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    accepted += ratel::test::succeeds_or_refuses([&] {
      const auto index = parse(flipped);
      for (const auto& entry : index.tensors) {
        BOOST_REQUIRE(entry.begin <= entry.end);
        BOOST_REQUIRE(entry.end <= flipped.size());
        BOOST_REQUIRE(entry.end - entry.begin ==
                      static_cast<uint64_t>(entry.shape.numel()) * ratel::size_of(entry.dtype));
      }
    });
  }
  BOOST_TEST(accepted >= 19 * 8u);  // the data, at least
  BOOST_TEST(accepted < file.size() * 8);
}

BOOST_AUTO_TEST_CASE(tensors_may_be_given_one_at_a_time) {
  using ratel::io::stream_safetensors;
  using ratel::io::TensorSource;
  const TemporaryFolder folder;
  std::vector<std::string> order;
  const auto source = [&](const std::string& name, DType dtype) {
    return TensorSource{name, dtype, {2, 3}, [&order, name, dtype] {
                          order.push_back(name);
                          return counting({2, 3}, dtype);
                        }};
  };
  stream_safetensors(folder / "f", {source("a", DType::u8), source("b", DType::f64)}, {{"k", "v"}});
  BOOST_TEST(order == (std::vector<std::string>{"b", "a"}));  // the widest first
  save_safetensors(folder / "g", {{"a", counting({2, 3}, DType::u8)}, {"b", counting({2, 3}, DType::f64)}},
                   {{"k", "v"}});
  BOOST_TEST((content_of(folder / "f") == content_of(folder / "g")));
  TensorSource lies = source("a", DType::u8);
  lies.dtype = DType::f32;
  check_error(ErrorKind::usage, "tensor \"a\": expected f32 (2, 3), its source gave u8 (2, 3)",
              [&] { stream_safetensors(folder / "h", {lies}); });
  BOOST_TEST(folder.count() == 2);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_saved) {
  const TemporaryFolder folder;
  const std::string path = folder / "f";
  const Tensor x = counting({2}, DType::f32);
  const auto check_not_saved = [&](const Named& tensors, std::string_view part) {
    check_error(ErrorKind::usage, part, [&] { save_safetensors(path, tensors); });
  };
  check_not_saved({{"a", x}, {"b", x}, {"a", x}}, "the tensor name \"a\" appears twice");
  check_not_saved({{"__metadata__", x}}, "is taken by the format");
  check_not_saved({{"", x}}, "is empty");
  check_not_saved({{"../a", x}}, "contains \"..\"");
  check_not_saved({{"a\xff", x}}, "is not valid UTF-8");
  check_not_saved({{"a", Tensor()}}, "tensor \"a\" is undefined");
  BOOST_TEST(folder.count() == 0);
  check_error(ErrorKind::disk, "not opened for writing", [&] { save_safetensors(folder / "none/f", {{"a", x}}); });
}
