// Needle tasks as files: what the rows hold, and that training data come of them.
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "test/cli/process.h"

namespace ratel::test {
namespace {

namespace fs = std::filesystem;
using io::Json;

const std::string kLlama = RATEL_SOURCE_DIR "/test/golden/tokenizers/llama.model";

std::vector<Json> rows_of(const std::string& path) {
  std::vector<Json> rows;
  std::istringstream lines(read(path));
  for (std::string line; std::getline(lines, line);) rows.push_back(io::parse_json(line, path));
  return rows;
}

}  // namespace

BOOST_AUTO_TEST_CASE(rows_become_training_data_whose_windows_are_examples) {
  const TemporaryFolder scratch;
  const std::string rows = scratch / "rows.jsonl", data = scratch / "rows.bin";
  const Json made = run_json({"needles", "--task", "single_1", "--length", "512", "--examples", "20", "--seed", "7",
                              "--exact", "--output", rows});
  BOOST_TEST(made.at("task").as_string() == "single_1");
  BOOST_TEST(made.at("examples").as_int() == 20);
  BOOST_TEST(made.at("length").as_int() == 512);
  BOOST_TEST(made.at("seed").as_int() == 7);
  BOOST_TEST(made.at("output").as_string() == rows);
  BOOST_TEST(made.at("bytes").as_int() == static_cast<int64_t>(fs::file_size(rows)));
  for (const Json& row : rows_of(rows)) {
    BOOST_TEST(row.at("text").as_string() == row.at("prompt").as_string() + row.at("completion").as_string());
    BOOST_TEST(row.at("completion").as_string() == " " + row.at("answers").as_array().at(0).as_string() + ".");
    BOOST_TEST(row.at("metric").as_string() == "string_match");
    BOOST_TEST(row.at("max_new_tokens").as_int() == 9);
  }
  const Json tokens = run_json({"tokenize", rows, "--output", data});
  BOOST_TEST(tokens.at("documents").as_int() == 20);
  const std::string bytes = read(data);
  constexpr size_t kTokens = 10240;  // 20 examples
  BOOST_REQUIRE(bytes.size() == 2 * kTokens);
  for (size_t end = 1; end <= kTokens; ++end)
    if (const bool is_eos = bytes.compare(2 * end - 2, 2, std::string("\0\1", 2)) == 0; is_eos != (end % 512 == 0))
      BOOST_ERROR("end-of-text " << (is_eos ? "found" : "missing") << " at token " << end - 1);
}

BOOST_AUTO_TEST_CASE(a_haystack_and_a_tokenizer_of_files) {
  const TemporaryFolder scratch;
  const std::string rows = scratch / "rows.jsonl", text = scratch / "text.txt";
  write(text, "Emma was handsome. She was caf\u00e9-clever!\n");
  const Words words = {
      "needles",     "--task", "niah_multiquery",  "--length", "800",      "--examples", "3", "--haystack", text,
      "--tokenizer", kLlama,   "--max-new-tokens", "128",      "--output", rows};
  BOOST_TEST(run_json(words).at("task").as_string() == "multiquery");
  const std::string first = read(rows);
  for (const Json& row : rows_of(rows)) {
    BOOST_TEST(row.at("prompt").as_string().find("caf\u00e9-clever!") != std::string::npos);
    BOOST_TEST(row.at("answers").as_array().size() == 4U);
    BOOST_TEST(row.at("max_new_tokens").as_int() == 128);
  }
  const Ended again = run_ratel(words);
  BOOST_TEST(again.out == rows + ": 3 examples of multiquery, up to 800 tokens each\n");
  BOOST_TEST((read(rows) == first));
  write(text, "\xef\xbb\xbf" + read(text));  // as some editors begin a file
  run_json(words);
  BOOST_TEST((read(rows) == first));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_made_leaves_what_was_there) {
  const TemporaryFolder scratch;
  const std::string rows = scratch / "rows.jsonl", text = scratch / "text.txt";
  write(rows, "kept");
  write(text, "Some text.");
  const auto fails = [&](const Words& more, int code, const std::string& part) {
    Words words = {"needles", "--output", rows};
    words.insert(words.end(), more.begin(), more.end());
    check_fails(words, code, part);
    BOOST_TEST(read(rows) == "kept");
  };
  fails({"--task", "multikey2"}, 2, R"(the nearest is "multikey_2")");
  fails({"--length", "100"}, 2, "single_1: needs at least ");
  fails({"--length", "0"}, 2, "--length: expected 1 to 1073741824, found 0");
  fails({"--examples", "0"}, 2, "--examples: expected 1 or more, found 0");
  fails({"--seed", "-1"}, 2, "--seed: expected 0 or more, found -1");
  fails({"--max-new-tokens", "-1"}, 2, "--max-new-tokens: expected 0 or more, found -1");
  fails({"--exact", "--max-new-tokens", "128"}, 2, "no room for max_new_tokens");
  fails({"--exact", "--tokenizer", kLlama}, 2, "needs tokens of bytes");
  fails({"--task", "multikey_3", "--haystack", text}, 2, "takes no text");
  fails({"--haystack", scratch / "missing"}, 3, "missing");
  check_fails({"needles", "--haystack", rows, "--output", rows}, 2, "the haystack");
  BOOST_TEST(read(rows) == "kept");
  write(text, "caf\xe9 and more");
  fails({"--haystack", text}, 3, text + ":3: invalid UTF-8");
  write(text, " \n\t");
  fails({"--haystack", text}, 3, text + ":0: expected text, found white space alone");
  write(text, "");
  fails({"--haystack", text}, 3, text + ":0: expected text, found an empty file");
  check_fails({"needles", "--output", scratch / "no/such/rows.jsonl"}, 5, "no/such");
  check_fails({"needles"}, 2, "--output");
}

}  // namespace ratel::test
