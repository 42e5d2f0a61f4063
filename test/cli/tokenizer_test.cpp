// A tokenizer from its training to the text that a model says with it.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>

#include "test/cli/process.h"

namespace ratel::test {
namespace {

namespace fs = std::filesystem;
using io::Json;

const std::string kLlama = RATEL_SOURCE_DIR "/test/golden/tokenizers/llama.model";

/// A run that was trained on tokens of a tokenizer that was trained on the same text.
struct Trained {
  Fixture fixture;
  std::string tokenizer = fixture.scratch / "tok.model", text = fixture.scratch / "text.txt",
              data = fixture.scratch / "tokens.bin", run = fixture.scratch / "with";
  Json made, tokens;

  Trained() {
    write(text, prose(8000, 1) + " caf\u00e9 \U0001f600\n");
    made = run_json({"tokenize", "--train", "--vocab", "300", text, "--output", tokenizer});
    tokens = run_json({"tokenize", "--tokenizer", tokenizer, text, "--output", data});
    run_json(words(run));
  }
  [[nodiscard]] Words words(const std::string& out, const Words& more = {}) const {
    Words all = {"train",
                 "--data",
                 data,
                 "--data.tokenizer=" + tokenizer,
                 "--model.layers=1",
                 "--model.channels=8",
                 "--model.heads=2",
                 "--data.seq_len=16",
                 "--data.batch_size=2",
                 "--train.steps=2",
                 "--out",
                 out};
    all.insert(all.end(), more.begin(), more.end());
    all.emplace_back("--json");
    return all;
  }
  [[nodiscard]] Json generated(const Words& more) const {
    Words words = {"generate", "--model", run, "--max-new-tokens", "120", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return run_json(words);
  }
};

const Trained& trained() {
  static const Trained all;
  return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_tokenizer_is_trained_and_described) {
  const Trained& t = trained();
  BOOST_TEST(t.made.at("vocab_size").as_int() == 300);
  BOOST_TEST(t.made.at("bytes").as_int() == static_cast<int64_t>(read(t.text).size()));
  const Json found = run_json({"inspect", t.tokenizer});
  BOOST_TEST(found.at("kind").as_string() == "tokenizer");
  BOOST_TEST(found.at("sha256").as_string() == t.made.at("sha256").as_string());
  BOOST_TEST(found.at("vocab_size").as_int() == 300);
  BOOST_TEST(found.at("eos").as_int() == 2);
  BOOST_TEST(found.at("lossless").as_bool());
  BOOST_TEST(run_ratel({"inspect", t.tokenizer}).out.find("algorithm") != std::string::npos);
  const std::string again = t.fixture.scratch / "again.model";
  run_json({"tokenize", "--train", "--vocab", "300", t.text, "--output", again});
  BOOST_TEST((read(again) == read(t.tokenizer)));
  BOOST_TEST(t.tokens.at("vocab_size").as_int() == 300);
  BOOST_TEST(t.tokens.at("tokens").as_int() < t.made.at("bytes").as_int());
  const Ended quiet = run_ratel({"tokenize", "--train", "--vocab", "300", t.text, "--output", again});
  BOOST_TEST(quiet.err.starts_with("ratel: training 300 pieces on "), quiet.err);
  BOOST_TEST(std::ranges::count(quiet.err, '\n') == 1, quiet.err);  // nothing of what the library tells
  BOOST_TEST(quiet.out.starts_with(again + ": 300 pieces from "), quiet.out);
}

BOOST_AUTO_TEST_CASE(a_model_says_text_with_its_tokenizer) {
  const Trained& t = trained();
  const Json model = run_json({"inspect", t.run + "/checkpoints/step-2"});
  BOOST_TEST(model.at("tokenizer").at("sha256").as_string() == t.made.at("sha256").as_string());
  BOOST_TEST(model.at("model").at("vocab_size").as_int() == 300);
  BOOST_TEST((read(t.run + "/checkpoints/step-2/tokenizer.model") == read(t.tokenizer)));

  const Json said = t.generated({"--prompt", "the", "--temperature", "1", "--seed", "3"});
  const std::string& text = said.at("text").as_string();
  BOOST_TEST(!text.empty());
  const Ended shown = run_ratel({"generate", "--model", t.run, "--max-new-tokens", "120", "--prompt", "the",
                                 "--temperature", "1", "--seed", "3"});
  BOOST_TEST(shown.out == text + "\n");
  // The same ids alone, as the prompt's are what tokenize makes of it.
  const std::string prompt = t.fixture.scratch / "prompt.txt", ids = t.fixture.scratch / "prompt.bin";
  write(prompt, "the");
  run_json({"tokenize", "--tokenizer", t.tokenizer, prompt, "--output", ids});
  const std::string bytes = read(ids);
  std::string list;
  for (size_t at = 0; at + 2 < bytes.size(); at += 2)
    list += (list.empty() ? "" : ",") +
            std::to_string(static_cast<unsigned char>(bytes[at]) + 256 * static_cast<unsigned char>(bytes[at + 1]));
  const Json same = t.generated({"--prompt-tokens", list, "--temperature", "1", "--seed", "3"});
  BOOST_TEST(same.dump() == said.dump());

  // A stop string is found where it stands, inside of tokens too.
  const auto is_plain = [](char c) { return c > ' ' && c < '\x7f'; };
  size_t at = 0;
  while (at + 2 < text.size() && !(is_plain(text[at]) && is_plain(text[at + 1]))) ++at;
  BOOST_TEST_REQUIRE(at + 2 < text.size());
  const std::string stop = text.substr(at, 2);
  const Json stopped = t.generated({"--prompt", "the", "--temperature", "1", "--seed", "3", "--stop", stop});
  BOOST_TEST(stopped.at("finish_reason").as_string() == "stop_string");
  BOOST_TEST(stopped.at("text").as_string() == text.substr(0, text.find(stop)));
}

BOOST_AUTO_TEST_CASE(adapted_models_keep_it_and_others_are_refused) {
  const Trained& t = trained();
  const std::string adapted = t.fixture.scratch / "adapted";
  run_json({"adapt", "--from", t.run, "--dilation=2", "--data", t.data, "--out", adapted, "--json"});
  BOOST_TEST((read(adapted + "/checkpoints/step-1/tokenizer.model") == read(t.tokenizer)));
  // By a file that knows nothing of it, too, and the run goes on without the source.
  const std::string file = t.fixture.scratch / "adapt.toml", by_file = t.fixture.scratch / "by file";
  write(file,
        "[model]\nlayers = 1\nchannels = 8\nheads = 2\n[train]\nsteps = 1\njoint = \"off\"\n[data]\nseq_len = 16\n"
        "batch_size = 2\n");
  const Words words = {"adapt", "--config", file, "--dilation=2", "--data", t.data, "--out", by_file, "--json"};
  check_fails(words, 2, "--from is missing");
  const auto with = [&](const Words& more) {
    Words all = words;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  run_json(with({"--from", t.run, "--data.tokenizer=" + t.tokenizer}));
  run_json(with({"--resume"}));
  BOOST_TEST((read(by_file + "/checkpoints/step-1/tokenizer.model") == read(t.tokenizer)));
  check_fails(t.words(t.run, {"--resume", "--data.tokenizer=" + kLlama}), 2, "tokenizer");
  check_fails(t.words(t.fixture.scratch / "x", {"--model.vocab_size=299"}), 2, "needs 300 words, found vocab_size 299");
  check_fails(t.words(t.fixture.scratch / "x", {"--data.tokenizer=word"}), 2, "the path of a .model file");
  BOOST_TEST(!fs::exists(t.fixture.scratch / "x"));
}

BOOST_AUTO_TEST_CASE(tokenizers_that_are_damaged) {
  const Trained& t = trained();
  const std::string cut = t.fixture.scratch / "cut.model", whole = read(kLlama);
  for (const size_t length : {size_t{0}, size_t{1}, size_t{20}, whole.size() / 2, whole.size() - 1}) {
    write(cut, whole.substr(0, length));
    check_fails({"inspect", cut}, 3, cut + ":");
    check_fails({"tokenize", "--tokenizer", cut, t.text, "--output", t.fixture.scratch / "x.bin"}, 3, cut + ":");
    check_fails(t.words(t.fixture.scratch / "x", {"--data.tokenizer=" + cut}), 3, cut + ":");
  }
  const std::string model = t.fixture.scratch / "damaged";
  fs::copy(t.run + "/checkpoints/step-2", model);
  fs::remove(model + "/MANIFEST.json");
  fs::remove(model + "/state.json");
  fs::remove(model + "/tokenizer.model");
  for (const Words& words : {Words{"generate", "--model", model, "--prompt", "a"}, Words{"inspect", model}})
    check_fails(words, 3, model + "/tokenizer.model");
  write(model + "/tokenizer.model", whole);
  check_fails({"generate", "--model", model, "--prompt", "a"}, 3, "as in config.json, found ");
}

BOOST_AUTO_TEST_CASE(training_that_cannot_be_says_why_and_writes_nothing) {
  const Trained& t = trained();
  const std::string output = t.fixture.scratch / "new.model";
  const auto train = [&](const Words& more) {
    Words words = {"tokenize", "--train", "--output", output};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  check_fails(train({t.text, "--vocab", "100"}), 2, "vocab_size: expected 260 to ");
  check_fails(train({t.text, "--vocab", "100000"}), 2, "expected 100000 pieces, found ", Before::progress);
  check_fails(train({t.text, "--character-coverage", "0.5"}), 2, "character_coverage: expected 0.98 to 1");
  check_fails(train({t.fixture.scratch / "none.txt"}), 3, "none.txt");
  check_fails({"tokenize", "--train", t.text, "--output", t.fixture.scratch / "new.bin"}, 2, "ends in .model");
  check_fails(train({}), 2, "INPUT");
  BOOST_TEST(!fs::exists(output));
  const std::string empty = t.fixture.scratch / "empty.txt";
  write(empty, "");
  check_fails(train({empty}), 3, "expected text to train a tokenizer on, found none");
  BOOST_TEST(run_ratel(train({"--help"})).out.find("--character-coverage") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(ctrl_c_leaves_nothing_half_written) {
  const Trained& t = trained();
  const std::string text = t.fixture.scratch / "long.txt", output = t.fixture.scratch / "stopped.model";
  std::string words;
  for (int i = 0; i < 100000; ++i)
    words += "w" + std::to_string(i * 7919 % 1000003) + "abcdefghij" + (i % 9 == 0 ? "\n" : " ");
  write(text, words);
  Process process({"tokenize", "--train", "--vocab", "20000", text, "--output", output});
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  process.send(SIGINT);
  BOOST_TEST(process.wait().code == 130);
  BOOST_TEST(!fs::exists(output));
  BOOST_TEST(!fs::exists(output + ".tmp"));
}

}  // namespace ratel::test
