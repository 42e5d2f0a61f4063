// Text becomes token files, and what is said of them follows.
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <string>

#include "core/rng.h"
#include "test/cli/process.h"

namespace ratel::test {
namespace {

namespace fs = std::filesystem;
using io::Json;

const std::string kGolden = RATEL_SOURCE_DIR "/test/golden/";

/// The tokens of texts, each with its end.
std::string tokens_of(const Words& texts) {
  std::string bytes;
  for (const std::string& text : texts) {
    for (const char byte : text) (bytes += byte) += '\0';
    (bytes += '\0') += '\1';
  }
  return bytes;
}

}  // namespace

BOOST_AUTO_TEST_CASE(inputs_of_all_kinds_in_their_order) {
  const TemporaryFolder scratch;
  fs::create_directories(scratch / "in/deep");
  write(scratch / "in/b.jsonl", "{\"text\": \"row\"}\r\n\n{\"text\": \"last\"}");
  write(scratch / "in/a.txt", "\xef\xbb\xbftext\r\n");
  write(scratch / "in/deep/c.txt", "deep");
  write(scratch / "in/notes.md", "not this");
  std::string lines;
  for (int n = 0; n < 40; ++n) lines += "line " + std::to_string(n) + "\n";
  const Json result = run_json({"tokenize", scratch / "in", kGolden + "streams/lines.zst", kGolden + "streams/lines.gz",
                                "--output", scratch / "t.bin"});
  BOOST_TEST((read(scratch / "t.bin") == tokens_of({"text\r\n", "row", "last", "deep", lines, lines})));
  BOOST_TEST(result.at("documents").as_int() == 6);
  BOOST_TEST(result.at("bad_rows").as_int() == 0);
  const Json sidecar = io::parse_json(read(scratch / "t.bin.json"), "t.bin.json");
  BOOST_TEST(sidecar.at("vocab_size").as_int() == 257);
  BOOST_TEST(sidecar.at("tokens").as_int() == result.at("tokens").as_int());
  BOOST_TEST(sidecar.at("text_bytes").as_int() == result.at("bytes").as_int());

  const Json inspected = run_json({"inspect", scratch / "t.bin"});
  BOOST_TEST(inspected.at("documents").as_int() == 6);
  BOOST_TEST(inspected.at("eos").as_int() == 256);
  BOOST_TEST(inspected.at("tokenizer").at("kind").as_string() == "bytes");
  const std::string piped = scratch / "p.bin";
  const Ended rows =
      shell("cat " + scratch / "in/b.jsonl" + " | $RATEL tokenize - --input-format jsonl --output " + piped);
  BOOST_TEST(rows.code == 0, rows.err);
  BOOST_TEST((read(piped) == tokens_of({"row", "last"})));
  const Ended packed =
      shell("$RATEL tokenize - --input-format txt.zst --output " + piped + " < " + kGolden + "streams/lines.zst");
  BOOST_TEST(packed.code == 0, packed.err);
  BOOST_TEST((read(piped) == tokens_of({lines})));
}

BOOST_AUTO_TEST_CASE(options_that_cannot_work_are_called_by_their_names) {
  const TemporaryFolder scratch;
  write(scratch / "a.txt", "text");
  const auto fails = [&](const Words& more, const std::string& part) {
    Words words = {"tokenize", scratch / "a.txt", "--output", scratch / "a.bin"};
    words.insert(words.end(), more.begin(), more.end());
    check_fails(words, 2, part);
    BOOST_TEST(!fs::exists(scratch / "a.bin"));
  };
  fails({"--max-bad=-1"}, "--max-bad: expected 0 or more, found -1");
  for (const std::string part : {"0", "1", "nan"})
    fails({"--validation", scratch / "b.bin", "--validation-fraction", part},
          "--validation-fraction: expected a number between 0 and 1, found " + part);
  fails({"--validation-fraction=0.5"}, "--validation-fraction: expected --validation FILE.bin with it");
  fails({"--seed=1"}, "--seed: expected --validation FILE.bin with it");
}

BOOST_AUTO_TEST_CASE(bad_rows_and_damaged_files) {
  const TemporaryFolder scratch;
  const std::string rows = scratch / "r.jsonl", output = scratch / "t.bin";
  write(rows, "{\"content\": \"a\"}\n{\"content\": 1}\n{\"content\": \"b\"}\n");
  const Words words{"tokenize", rows, "--output", output, "--text-field", "content"};
  check_fails(words, 3, rows + ":2: content: expected a string, found 1\nhint: --max-bad N leaves out");
  BOOST_TEST(!fs::exists(output));
  Words more = words;
  more.insert(more.end(), {"--max-bad", "1"});
  const Ended ended = run_ratel(more);
  BOOST_TEST(ended.code == 0, ended.err);
  BOOST_TEST(ended.err == "ratel: left out: " + rows + ":2: content: expected a string, found 1\n");
  BOOST_TEST((read(output) == tokens_of({"a", "b"})));
  for (const auto& [name, message] :
       {std::pair{"members.gz", "gzip data ends early"}, {"frames.zst", "zstd data ends early"}}) {
    const std::string cut = scratch / "cut.txt" + fs::path(name).extension().string();
    write(cut, read(kGolden + "streams/" + name).substr(0, 5000));
    check_fails({"tokenize", cut, "--output", scratch / "c.bin"}, 3, cut + ":5000: " + message);
    check_fails({"tokenize", "--max-bad", "9", cut, "--output", scratch / "c.bin"}, 3, message);  // no row is at fault
  }
  BOOST_TEST(!fs::exists(scratch / "c.bin"));
  const Ended piped = shell("$RATEL tokenize - --input-format jsonl --output " + output + " < " + rows);
  check_failure(piped, 3, "ratel: stdin:1: expected a member \"text\", found content");
  check_fails({"tokenize", rows, "--output", ""}, 2, "expected the name of a file to write, found an empty one");
  check_fails({"tokenize", rows, "--output", output, "--validation", ""}, 2, "expected the name of a file to write");
  check_fails({"tokenize", rows, "--output", output, "--input-format", "csv"}, 2,
              "expected an input format txt or jsonl");
  check_fails({"tokenize", rows, "--output", output, "--tokenizer", "none.model"}, 3, "none.model: not opened");
}

BOOST_AUTO_TEST_CASE(nothing_that_is_read_or_written_is_written_over) {
  const TemporaryFolder scratch;
  const std::string text = scratch / "a.txt", described = scratch / "a.txt.json", model = scratch / "tok.model",
                    other = scratch / "other.bin", link = scratch / "link.bin";
  write(text, "text");
  write(described, "more text");
  write(scratch / "in.bin.tmp", "text");
  fs::copy(kGolden + "tokenizers/llama.model", model);
  fs::create_hard_link(text, link);
  fs::create_directory(scratch / "folder");
  fs::copy(text, scratch / "folder/b.txt");
  fs::create_directory_symlink(scratch / "folder", scratch / "way");
  const std::string spelled = scratch / "folder/../other.bin", model_again = scratch / "folder/../tok.model";
  const auto refused = [](Words words, const Words& more, const std::string& a, const std::string& b) {
    words.insert(words.end(), more.begin(), more.end());
    check_fails(words, 2, a + " and " + b + " are the same file");
  };
  const Words tokenize{"tokenize", text};
  refused(tokenize, {"--output", text}, "the input " + text, "the output " + text);
  refused(tokenize, {"--output", link}, "the input " + text, "the output " + link);
  refused(tokenize, {"--output", other, "--validation", other}, "the output " + other, "the validation file " + other);
  refused(tokenize, {"--output", other, "--validation", spelled}, "the output " + other,
          "the validation file " + spelled);
  refused(tokenize, {"--output", other, "--validation", other + ".json"},
          "the sidecar of the output " + other + ".json", "the validation file " + other + ".json");
  refused(tokenize, {"--output", other + ".json", "--validation", other}, "the output " + other + ".json",
          "the sidecar of the validation file " + other + ".json");
  refused({"tokenize", described}, {"--output", text}, "the input " + described,
          "the sidecar of the output " + described);
  refused({"tokenize", scratch / "in.bin.tmp"}, {"--output", scratch / "in.bin"}, "the input " + scratch / "in.bin.tmp",
          "the temporary file of the output " + scratch / "in.bin.tmp");
  refused({"tokenize", scratch / "folder"}, {"--output", scratch / "way/b.txt"},
          "the input " + scratch / "folder/b.txt", "the output " + scratch / "way/b.txt");
  refused(tokenize, {"--tokenizer", model, "--output", model_again}, "the tokenizer " + model,
          "the output " + model_again);
  refused({"tokenize", "--train", model}, {"--output", model_again}, "the input " + model, "the output " + model_again);
  BOOST_TEST(read(text) == "text");
  BOOST_TEST(read(described) == "more text");
  BOOST_TEST((read(model) == read(kGolden + "tokenizers/llama.model")));
  BOOST_TEST(!fs::exists(other));
}

BOOST_AUTO_TEST_CASE(tokens_are_no_text) {
  const TemporaryFolder scratch;
  const std::string text = scratch / "a.txt", tokens = scratch / "a.bin";
  write(text, "text");
  run_json({"tokenize", text, "--output", tokens});
  check_fails({"tokenize", tokens, "--output", scratch / "b.bin"}, 3, tokens + ": expected text, found tokens");
}

BOOST_AUTO_TEST_CASE(a_sentencepiece_model_and_a_split) {
  const TemporaryFolder scratch;
  std::string rows;
  for (uint64_t i = 0; i < 200; ++i) rows += Json::object({{"text", prose(300, i)}}).dump() + "\n";
  write(scratch / "r.jsonl", rows);
  const std::string model = kGolden + "tokenizers/llama.model";
  Words files[2];
  for (const char* threads : {"1", "2"}) {
    const Json result =
        run_json({"tokenize", "--tokenizer", model, scratch / "r.jsonl", "--output", scratch / "t.bin", "--validation",
                  scratch / "v.bin", "--validation-fraction", "0.2", "--threads", threads});
    BOOST_TEST(result.at("vocab_size").as_int() == 700);
    BOOST_TEST(result.at("documents").as_int() + result.at("validation").at("documents").as_int() == 200);
    files[*threads - '1'] = {read(scratch / "t.bin"), read(scratch / "v.bin"), read(scratch / "v.bin.json")};
  }
  BOOST_TEST((files[0] == files[1]));
  // What trains on it follows the sidecar, and refuses another tokenizer.
  const Words train{"train", "--data", scratch / "t.bin", "--out", scratch / "run", "--print-config", "--json"};
  Words other = train;
  other.push_back("--data.tokenizer=none");
  const Json config = run_json(other);
  BOOST_TEST(config.at("model.vocab_size").as_int() == 700);
  BOOST_TEST(config.at("data.eos").as_int() == 2);
  check_fails({"train", "--data", scratch / "t.bin", "--out", scratch / "run"}, 3,
              "tokens of another tokenizer; expected bytes, found llama.model (SHA-256 ");
}

BOOST_AUTO_TEST_CASE(token_files_that_disagree_with_what_is_said_of_them) {
  const Fixture fixture;
  const std::string run = fixture.scratch / "run";
  BOOST_TEST_REQUIRE(run_ratel(fixture.training(run)).code == 0);
  const auto eval_fails = [&](const std::string& data, const std::string& part) {
    check_fails({"eval", "--model", run, "--data", data}, 3, part);
    check_fails({"inspect", data}, 3, part);
    check_fails({"search", "--model", run, "--data", data, "--output", fixture.scratch / "p.toml"}, 3, part);
    check_fails({"train", "--data", data, "--out", fixture.scratch / "new"}, 3, part);
    BOOST_TEST(!fs::exists(fixture.scratch / "new"));
  };
  const std::string cut = fixture.scratch / "cut.bin", bytes = read(fixture.data);
  fs::copy(fixture.data + ".json", cut + ".json");
  write(cut, bytes.substr(0, bytes.size() - 2));
  eval_fails(cut, "cut.bin.json: tokens: disagrees with ");
  std::string other = bytes;
  other[10] = static_cast<char>(other[10] ^ 1);
  write(cut, other);
  eval_fails(cut, "cut.bin.json: fingerprint: belongs to another file");
  write(cut + ".json", "{\"format_version\": 1");
  eval_fails(cut, "cut.bin.json:20: ");

  // The same ids with llm.c's header, and cut.
  const std::string headed = fixture.scratch / "headed.bin";
  std::string header(1024, '\0');
  const auto put = [&](size_t at, int32_t value) {
    header.replace(at, sizeof value, reinterpret_cast<const char*>(&value), sizeof value);
  };
  put(0, 20240520);
  put(4, 1);
  put(8, static_cast<int32_t>(bytes.size() / 2));
  write(headed, header + bytes);
  const Words eval{"eval", "--model", run, "--json", "--data"};
  const auto loss_of = [&](const std::string& data) {
    Words words = eval;
    words.push_back(data);
    return run_json(words).at("loss").as_double();
  };
  BOOST_TEST(loss_of(headed) == loss_of(fixture.data));
  BOOST_TEST(run_json({"inspect", headed}).at("layout").as_string() == "llm.c");
  write(headed, (header + bytes).substr(0, 2000));
  eval_fails(headed, "headed.bin:2000: llm.c's header counts ");
}

}  // namespace ratel::test
