#include "text/corpus.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "core/rng.h"
#include "io/json.h"
#include "io/limits.h"
#include "io/token_file.h"
#include "test/io/support.h"
#include "text/byte_tokenizer.h"

namespace fs = std::filesystem;
using ratel::ByteTokenizer;
using ratel::CorpusOptions;
using ratel::CorpusResult;
using ratel::ErrorKind;
using ratel::list_inputs;
using ratel::tokenize_corpus;
using ratel::Tokenizer;
using ratel::io::TokenFile;
using ratel::test::check_error;
using ratel::test::content_of;
using ratel::test::TemporaryFolder;
using Words = std::vector<std::string>;

namespace {

CorpusResult tokenize(const Words& inputs, const CorpusOptions& options) {
  return tokenize_corpus(Tokenizer::bytes(), list_inputs(inputs), options);
}

/// The texts between the ends of documents.
Words documents_in(const std::string& path) {
  const TokenFile file = TokenFile::open(path);
  std::vector<int64_t> ids(static_cast<size_t>(file.size()));
  file.read(0, file.size(), ids.data());
  Words texts;
  for (auto at = ids.begin(); at != ids.end();) {
    const auto end = std::find(at, ids.end(), ByteTokenizer::kEos);
    BOOST_TEST_REQUIRE((end != ids.end()));
    texts.push_back(ByteTokenizer::decode({at, end}));
    at = end + 1;
  }
  return texts;
}

std::string row(const std::string& text) { return ratel::io::Json::object({{"id", 1}, {"text", text}}).dump() + "\n"; }

/// Rows of all lengths, and the texts in them.
struct Corpus {
  TemporaryFolder scratch;
  Words texts;
  Words inputs;
  explicit Corpus(uint64_t rows = 1000) {
    std::string jsonl;
    for (uint64_t i = 0; i < rows; ++i) {
      const size_t size = 1 + ratel::Rng(5).bits_at(i) % (i % 500 == 99 ? 600'000 : 300);
      texts.push_back(std::to_string(i) + std::string(size, static_cast<char>('a' + i % 26)));
      jsonl += row(texts.back());
    }
    std::string large;
    while (large.size() < 600'000) large += "one line of a long document\n";
    texts.push_back(large);
    inputs = {scratch.file("r.jsonl", jsonl), scratch.file("large.txt", large)};
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(the_output_is_the_documents_for_any_number_of_threads) {
  const Corpus corpus;
  CorpusOptions options;
  options.output = corpus.scratch / "1.bin";
  options.threads = 1;
  const CorpusResult one = tokenize(corpus.inputs, options);
  BOOST_TEST((documents_in(options.output) == corpus.texts));
  BOOST_TEST((one.status == CorpusResult::Status::finished));
  BOOST_TEST(one.train.documents == static_cast<int64_t>(corpus.texts.size()));
  BOOST_TEST(one.train.tokens == one.train.text_bytes + one.train.documents);
  const TokenFile file = TokenFile::open(options.output);
  BOOST_TEST(file.size() == one.train.tokens);
  BOOST_TEST(*file.sidecar()->documents == one.train.documents);
  BOOST_TEST(*file.sidecar()->text_bytes == one.train.text_bytes);
  BOOST_TEST(file.sidecar()->eos == ByteTokenizer::kEos);
  BOOST_TEST(file.sidecar()->tokenizer->kind == "bytes");
  for (const int threads : {2, 3, 16}) {
    options.threads = threads;
    options.output = corpus.scratch / "n.bin";
    tokenize(corpus.inputs, options);
    BOOST_TEST((content_of(options.output) == content_of(corpus.scratch / "1.bin")), threads << " threads");
  }
}

BOOST_AUTO_TEST_CASE(a_document_in_parts_has_the_ids_of_the_whole) {
  const TemporaryFolder scratch;
  std::string large;  // more than a block, and more than what is encoded at once
  for (int i = 0; large.size() < 400'000; ++i)
    large += "It is a truth, in " + std::to_string(i) + (i % 7 == 0 ? " caf\u00e9s;\n\n  " : " or so.\r\n");
  const std::string file = scratch.file("large.txt", large), rows = scratch.file("r.jsonl", row(large) + row("b"));
  for (const std::string name : {"llama", "unigram", "lossy"}) {
    const auto tokenizer = Tokenizer::open(RATEL_SOURCE_DIR "/test/golden/tokenizers/" + name + ".model");
    std::vector<int64_t> expected = tokenizer.encode(large);
    expected.push_back(*tokenizer.eos());
    CorpusOptions options;
    options.output = scratch / "t.bin";
    for (const std::string& input : {file, rows}) {
      const CorpusResult result = tokenize_corpus(tokenizer, list_inputs(Words{input}), options);
      const TokenFile tokens = TokenFile::open(options.output);
      BOOST_TEST(tokens.size() == result.train.tokens);
      std::vector<int64_t> ids(expected.size());
      tokens.read(0, static_cast<int64_t>(ids.size()), ids.data());
      BOOST_TEST((ids == expected), name << " of " << input);
      BOOST_TEST(tokens.sidecar()->tokenizer->hash == tokenizer.hash());
      BOOST_TEST(tokens.sidecar()->tokenizer->name == name + ".model");
      BOOST_TEST(tokens.vocab_size() == tokenizer.vocab_size());
    }
  }
}

BOOST_AUTO_TEST_CASE(what_cannot_be_cut_and_is_too_long_is_bad) {
  const TemporaryFolder scratch;
  const auto lossy = Tokenizer::open(RATEL_SOURCE_DIR "/test/golden/tokenizers/lossy.model");
  constexpr size_t kMost = ratel::io::kUncutBytes;
  const std::string most(kMost, ' '), more(kMost + 1, ' '), much(kMost + 1'000'000, ' ');
  const Words inputs{scratch.file("a.txt", "one"), scratch.file("b.txt", more), scratch.file("c.txt", much),
                     scratch.file("d.txt", most), scratch.file("r.jsonl", row(more) + row("two"))};
  CorpusOptions options;
  options.output = scratch / "t.bin";
  options.max_bad = 3;
  Words told;
  options.bad = [&](const std::string& what) { told.push_back(what); };
  const CorpusResult result = tokenize_corpus(lossy, list_inputs(inputs), options);
  BOOST_TEST(result.bad == 3);
  BOOST_TEST(result.train.documents + result.empty == 3);
  BOOST_TEST(result.train.text_bytes >= 6);
  const std::string problem = ": too long to encode; expected a place to cut within 1048576 bytes, found none";
  BOOST_TEST(told == (Words{inputs[1] + ":0" + problem, inputs[2] + ":0" + problem, inputs[4] + ":1" + problem}));
  // What has places to cut may be as long as it likes.
  std::string words;
  while (words.size() < 3 * kMost) words += "words and words ";
  const auto llama = Tokenizer::open(RATEL_SOURCE_DIR "/test/golden/tokenizers/llama.model");
  options.max_bad = 0;
  const Words both{scratch.file("e.txt", words), scratch.file("f.jsonl", row(words))};
  BOOST_TEST(tokenize_corpus(llama, list_inputs(both), options).train.documents == 2);
}

BOOST_AUTO_TEST_CASE(a_split_loses_no_document_and_doubles_none) {
  const Corpus corpus;
  CorpusOptions options;
  options.output = corpus.scratch / "t.bin";
  options.validation = corpus.scratch / "v.bin";
  options.validation_fraction = 0.1;
  options.seed = 7;
  const CorpusResult result = tokenize(corpus.inputs, options);
  const Words train = documents_in(options.output), validation = documents_in(options.validation);
  std::multiset<std::string> joined(train.begin(), train.end()), all(corpus.texts.begin(), corpus.texts.end());
  joined.insert(validation.begin(), validation.end());
  BOOST_TEST((joined == all));
  BOOST_TEST(result.validation.documents == static_cast<int64_t>(validation.size()));
  BOOST_TEST(validation.size() > 70u);
  BOOST_TEST(validation.size() < 130u);
  // Which ones is a function of seed and number alone.
  size_t next = 0;
  for (size_t i = 0; i < corpus.texts.size(); ++i)
    if (ratel::is_validation(i, 7, 0.1)) BOOST_TEST_REQUIRE((validation[next++] == corpus.texts[i]));
  const std::string first = content_of(options.validation);
  options.threads = 1;
  tokenize(corpus.inputs, options);
  BOOST_TEST((content_of(options.validation) == first));
  options.seed = 8;
  tokenize(corpus.inputs, options);
  BOOST_TEST((content_of(options.validation) != first));
}

BOOST_AUTO_TEST_CASE(a_file_that_all_documents_miss_is_an_error_and_leaves_nothing) {
  const TemporaryFolder scratch;
  CorpusOptions options;
  options.output = scratch / "t.bin";
  options.validation = scratch / "v.bin";
  options.validation_fraction = 1e-9;
  const Words inputs{scratch.file("a.txt", "a")};
  try {
    tokenize(inputs, options);
    BOOST_ERROR("an empty validation file");
  } catch (const ratel::Error& error) {
    BOOST_TEST(std::string_view(error.what()).find("v.bin: expected a document, found none") != std::string_view::npos);
  }
  BOOST_TEST(scratch.count() == 1);
  for (const double fraction : {0.0, 1.0, -1.0, std::nan("")}) {
    options.validation_fraction = fraction;
    check_error(ErrorKind::usage, "validation_fraction: expected a number between 0 and 1",
                [&] { tokenize(inputs, options); });
  }
  options.validation_fraction = 0.5;
  options.validation = options.output;
  check_error(ErrorKind::usage, "t.bin and the validation file ", [&] { tokenize(inputs, options); });
}

BOOST_AUTO_TEST_CASE(both_sidecars_go_before_a_file_gets_its_name) {
  const TemporaryFolder scratch;
  CorpusOptions options;
  options.output = scratch / "t.bin";
  options.validation = scratch / "v.bin";
  options.validation_fraction = 0.5;
  std::string rows;
  for (int i = 0; i < 40; ++i) rows += row("text");
  fs::create_directories(options.output + "/taken");  // the first rename is where it ends
  for (const std::string& path : {options.output, options.validation}) std::ofstream(path + ".json") << "{}";
  check_error(ErrorKind::disk, "t.bin", [&] { tokenize({scratch.file("r.jsonl", rows)}, options); });
  BOOST_TEST(!fs::exists(options.output + ".json"));
  BOOST_TEST(!fs::exists(options.validation + ".json"));
}

BOOST_AUTO_TEST_CASE(bad_rows_move_no_document_to_the_other_file) {
  const TemporaryFolder scratch;
  std::string good, mixed;
  for (int i = 0; i < 60; ++i) {
    good += row("document " + std::to_string(i));
    mixed += row("document " + std::to_string(i)) + (i % 3 == 0 ? "{\"text\": 3}\n" : "");
  }
  CorpusOptions options;
  options.validation_fraction = 0.3;
  options.max_bad = 20;
  const auto split = [&](const std::string& name, const std::string& rows) {
    options.output = scratch / (name + ".t.bin");
    options.validation = scratch / (name + ".v.bin");
    tokenize({scratch.file(name + ".jsonl", rows)}, options);
    return std::pair{documents_in(options.output), documents_in(options.validation)};
  };
  const auto of_good = split("good", good), of_mixed = split("mixed", mixed);
  BOOST_TEST(of_good.second.size() > 5u);
  BOOST_TEST((of_mixed.first == of_good.first));
  BOOST_TEST((of_mixed.second == of_good.second));
}

BOOST_AUTO_TEST_CASE(bad_rows_are_left_out_up_to_a_number) {
  const TemporaryFolder scratch;
  std::string jsonl = row("one") + "{\"text\": 3}\n" + row("two") + "not json\n\n";
  for (int i = 0; i < 20; ++i) jsonl += "{}\n";
  jsonl += row("three");
  const Words inputs{scratch.file("r.jsonl", jsonl)};
  CorpusOptions options;
  options.output = scratch / "t.bin";
  Words told;
  options.bad = [&](const std::string& what) { told.push_back(what); };
  options.max_bad = 22;
  const CorpusResult result = tokenize(inputs, options);
  BOOST_TEST(documents_in(options.output) == (Words{"one", "two", "three"}));
  BOOST_TEST(result.bad == 22);
  BOOST_TEST(told.size() == 10u);  // the rest is only counted
  const std::string path = inputs.front();
  BOOST_TEST(told[0] == path + ":2: text: expected a string, found 3");
  BOOST_TEST(told[1].starts_with(path + ":4:1: "), told[1]);
  BOOST_TEST(told[2] == path + ":6: expected a member \"text\", found none");
  fs::remove(options.output);
  fs::remove(options.output + ".json");

  const auto refused = [&](int64_t most, const std::string& message) {
    options.max_bad = most;
    try {
      tokenize(inputs, options);
      BOOST_ERROR("bad rows were accepted");
    } catch (const ratel::Error& error) {
      BOOST_TEST((error.kind() == ErrorKind::input));
      BOOST_TEST(error.what() == message + "\nhint: --max-bad N leaves out up to N bad rows");
    }
    BOOST_TEST(scratch.count() == 1);
  };
  refused(0, path + ":2: text: expected a string, found 3");
  refused(21, path + ":25: expected a member \"text\", found none; expected at most 21 bad rows, found 22");
  options.max_bad = -1;
  check_error(ErrorKind::usage, "max_bad: expected 0 or more, found -1", [&] { tokenize(inputs, options); });
}

BOOST_AUTO_TEST_CASE(documents_without_a_token_are_left_out) {
  const TemporaryFolder scratch;
  CorpusOptions options;
  options.output = scratch / "t.bin";
  const std::string empty = scratch.file("e.txt", "");
  const CorpusResult result =
      tokenize({empty, scratch.file("r.jsonl", row("") + row("text") + row("")), empty}, options);
  BOOST_TEST(result.empty == 4);
  BOOST_TEST(documents_in(options.output) == Words{"text"});
  check_error(ErrorKind::input, "expected text, found none: 1 document without a token, 0 bad rows", [&] {
    options.output = scratch / "u.bin";
    tokenize({empty}, options);
  });
  BOOST_TEST(!fs::exists(options.output));
}

BOOST_AUTO_TEST_CASE(stopped_or_failing_it_leaves_what_was_there) {
  const Corpus corpus;
  CorpusOptions options;
  options.output = corpus.scratch.file("t.bin", "as it was");
  (void)corpus.scratch.file("t.bin.json", "this too");
  options.validation = corpus.scratch / "v.bin";
  const auto unchanged = [&] {
    BOOST_TEST(content_of(options.output) == "as it was");
    BOOST_TEST(content_of(options.output + ".json") == "this too");
    BOOST_TEST(corpus.scratch.count() == 4);
  };
  for (const int blocks : {0, 3}) {
    int polled = 0;
    options.stop = [&] { return polled++ > blocks; };
    BOOST_TEST((tokenize(corpus.inputs, options).status == CorpusResult::Status::stopped));
    unchanged();
  }
  options.stop = {};
  Words inputs = corpus.inputs;
  inputs.push_back(corpus.scratch / "gone.txt");
  const auto files = list_inputs(corpus.inputs);
  auto more = files;
  more.push_back({corpus.scratch / "gone.txt", {}, {}});
  check_error(ErrorKind::input, "gone.txt: not opened", [&] { tokenize_corpus(Tokenizer::bytes(), more, options); });
  unchanged();
}

BOOST_AUTO_TEST_CASE(progress_ends_at_the_whole) {
  const Corpus corpus(50);
  CorpusOptions options;
  options.output = corpus.scratch / "t.bin";
  ratel::CorpusProgress last;
  options.progress = [&](const ratel::CorpusProgress& at) {
    BOOST_TEST(at.used >= last.used);
    BOOST_TEST(at.tokens >= last.tokens);
    last = at;
  };
  const CorpusResult result = tokenize(corpus.inputs, options);
  BOOST_TEST(last.used == *last.total);
  BOOST_TEST(last.tokens == result.train.tokens);
  BOOST_TEST(last.text_bytes == result.train.text_bytes);
  BOOST_TEST(last.documents == result.train.documents);
}
