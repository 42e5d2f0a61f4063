#include "cli/convert_options.h"

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/sharded_safetensors.h"

using ratel::DType;
using ratel::cli::ConvertOptions;
using ratel::cli::parse_bytes;
using ratel::cli::parse_convert_options;
using ratel::cli::TensorNames;

namespace {

ConvertOptions parsed(const std::vector<std::string>& args) { return parse_convert_options(args).value(); }

void check_usage(const std::vector<std::string>& args, const std::string& part) {
  try {
    (void)parse_convert_options(args);
    BOOST_ERROR("no error; expected one with " << part);
  } catch (const ratel::Error& error) {
    BOOST_TEST((error.kind() == ratel::ErrorKind::usage));
    BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, error.what());
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(sizes) {
  for (const auto& [text, bytes] : std::vector<std::pair<std::string, uint64_t>>{{"1", 1},
                                                                                 {"4096", 4096},
                                                                                 {"2GB", 2'000'000'000},
                                                                                 {"2 gb", 2'000'000'000},
                                                                                 {"1.5kb", 1500},
                                                                                 {"1e3", 1000},
                                                                                 {"500MB", 500'000'000},
                                                                                 {"4GiB", uint64_t{4} << 30},
                                                                                 {"1kib", 1024},
                                                                                 {"1tb", 1'000'000'000'000}})
    BOOST_TEST(parse_bytes(text, "--x") == bytes, text);
  for (const char* text : {"", "GB", "0", "-1", "0.5", "1xb", "1e99", "nan", "1GBGB", "1 2"}) {
    try {
      (void)parse_bytes(text, "--x");
      BOOST_ERROR("no error for " << text);
    } catch (const ratel::Error& error) {
      BOOST_TEST(std::string(error.what()).starts_with("--x: expected bytes"), error.what());
    }
  }
}

BOOST_AUTO_TEST_CASE(what_is_given_and_what_is_not) {
  const ConvertOptions plain = parsed({"a.pth", "dir"});
  BOOST_TEST(plain.input == "a.pth");
  BOOST_TEST(plain.output == "dir");
  BOOST_TEST(!plain.writes_a_file());
  BOOST_TEST((!plain.heads && !plain.dtype && !plain.tokenizer && !plain.force && !plain.json));
  BOOST_TEST(plain.shard_bytes == ratel::io::kShardBytes);
  const ConvertOptions all = parsed({"a", "b", "--heads", "4", "--dtype", "bf16", "--tokenizer", "bytes",
                                     "--shard-size", "2GB", "--force", "--json"});
  BOOST_TEST(all.heads.value() == 4);
  BOOST_TEST((all.dtype == DType::bf16));
  BOOST_TEST(all.tokenizer.value() == "bytes");
  BOOST_TEST(all.shard_bytes == 2'000'000'000u);
  BOOST_TEST((all.force && all.json));
  const ConvertOptions file = parsed({"a", "b.safetensors", "--names", "authors"});
  BOOST_TEST(file.writes_a_file());
  BOOST_TEST((file.names == TensorNames::authors));
}

BOOST_AUTO_TEST_CASE(what_cannot_work) {
  check_usage({"a"}, "expected INPUT and OUTPUT, found 1 path");
  check_usage({"a", "b", "c"}, "found 3 paths");
  check_usage({"a", "b", "--heads", "0"}, "--heads: expected 1 or more, found 0");
  check_usage({"a", "b", "--dtype", "i64"}, "--dtype: expected f32, bf16 or f64");
  check_usage({"a", "b", "--dtype", "f16"}, "--dtype: expected f32, bf16 or f64");
  check_usage({"a", "b", "--names", "theirs"}, "--names: expected ratel or authors");
  check_usage({"a", "b", "--names", "authors"}, "--names: a model folder has ratel's names");
  check_usage({"a", "b.safetensors", "--shard-size", "1GB"}, "--shard-size: a .safetensors output is one file");
  check_usage({"a", "b.safetensors", "--tokenizer", "none"}, "--tokenizer: a .safetensors output has none");
}
