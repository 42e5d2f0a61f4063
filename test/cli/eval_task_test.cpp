// ratel eval --task as people and scripts use it.
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <thread>

#include "test/cli/process.h"

namespace ratel::test {
namespace {

using io::Json;

Words keys_of(const Json& object) {
  Words keys;
  for (const auto& [key, value] : object.as_object()) keys.push_back(key);
  return keys;
}

/// A trained model, and a file of every kind.
struct Tasks : Fixture {
  std::string run = scratch / "run", choices = scratch / "choices.jsonl", words = scratch / "words.jsonl",
              prompts = scratch / "prompts.jsonl";
  Tasks() {
    BOOST_TEST_REQUIRE(run_ratel(training(run)).code == 0);
    std::string rows;
    for (int i = 0; i < 20; ++i)
      rows += R"({"context": "she was )" + std::string(static_cast<size_t>(i), 'a') +
              R"(", "choices": ["the house", "no", "a good thing of it"], "gold": )" + std::to_string(i % 3) +
              R"(, "id": "row )" + std::to_string(i) + "\"}\n";
    write(choices, rows);
    write(words, "{\"text\": \"she was the house\"}\n{\"text\": \"the good thing\"}\n");
    write(prompts,
          R"({"input": "Who?", "context": "she was", "answers": ["she"], "all_classes": ["she", "he"], "_id": "p0"})"
          "\n"
          R"({"prompt": "the ", "answers": ["e"], "metric": "string_match", "max_new_tokens": 5})"
          "\n");
  }
};

const Tasks& tasks() {
  static const Tasks made;
  return made;
}

Words words_of(const std::string& task, const Words& more = {}) {
  Words words = {"eval", "--model", tasks().run, "--task", task};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// What --json prints, without the time it took.
Json eval(const std::string& task, const Words& more = {}) {
  Json json = run_json(words_of(task, more));
  json.set("seconds", 0);
  return json;
}

}  // namespace

BOOST_AUTO_TEST_CASE(choices_are_evaluated_with_every_score) {
  const Json json = eval(tasks().choices);
  BOOST_TEST(keys_of(json) == (Words{"task", "kind", "metrics", "standard_errors", "examples", "seconds", "complete",
                                     "pattern", "kv_cache", "scores"}));
  BOOST_TEST(json.at("kind").as_string() == "multiple_choice");
  BOOST_TEST(keys_of(json.at("metrics")) == (Words{"acc", "acc_norm"}));
  BOOST_TEST(json.at("examples").as_int() == 20);
  BOOST_TEST(json.at("complete").as_bool());
  int64_t right = 0;
  for (const Json& score : json.at("scores").as_array()) right += score.at("acc").as_int();
  BOOST_TEST(json.at("metrics").at("acc").as_double() == static_cast<double>(right) / 20);
  BOOST_TEST(json.at("scores").as_array()[3].at("id").as_string() == "row 3");

  for (const char* batch_size : {"1", "3", "8"})
    for (const Words& pattern : {Words{}, Words{"--dilation=4", "--window=2"}}) {
      Words more = pattern;
      more.insert(more.end(), {"--batch-size", batch_size});
      BOOST_TEST((eval(tasks().choices, more) == eval(tasks().choices, pattern)));
    }
  BOOST_TEST((eval(tasks().choices, {"--threads=1"}) == json));
  BOOST_TEST((eval(tasks().choices, {"--kind", "multiple_choice"}) == json));
  BOOST_TEST((eval(tasks().choices, {"--dilation=4"}) != json));
  BOOST_TEST((eval(tasks().choices, {"--max-length=20"}) != json));
  const Json some = eval(tasks().choices, {"--limit=3"});
  BOOST_TEST(some.at("examples").as_int() == 3);
  for (size_t i = 0; i < 3; ++i) BOOST_TEST((some.at("scores").as_array()[i] == json.at("scores").as_array()[i]));
}

BOOST_AUTO_TEST_CASE(people_see_a_table_and_a_file_holds_the_scores) {
  const std::string out = tasks().scratch / "out.json";
  const Ended ended = run_ratel(words_of(tasks().choices, {"--output", out}));
  BOOST_TEST(ended.code == 0, ended.err);
  BOOST_TEST(ended.out.find("metric") != std::string::npos, ended.out);
  BOOST_TEST(ended.out.find("acc_norm  0.") != std::string::npos, ended.out);
  BOOST_TEST(ended.out.find("20 examples") != std::string::npos, ended.out);
  BOOST_TEST(ended.out.find("KV cache") != std::string::npos, ended.out);
  Json written = io::read_json_file(out);
  written.set("seconds", 0);
  BOOST_TEST((written == eval(tasks().choices)));
  check_fails(words_of(tasks().choices, {"--output", tasks().choices}), 2, "the output");
  const std::string pattern = tasks().scratch / "pattern.toml";
  write(pattern, "dilation = 4\n");
  check_fails(words_of(tasks().choices, {"--pattern", pattern, "--output", pattern}), 2, "are the same file");
  BOOST_TEST(read(pattern) == "dilation = 4\n");
  check_fails(words_of(tasks().choices, {"--output", tasks().scratch / "none/x.json"}), 5, "none/x.json");
}

BOOST_AUTO_TEST_CASE(what_was_scored_is_shown_where_it_cannot_be_written) {
  std::string command = "(ulimit -f 0; $RATEL";
  for (const std::string& word : words_of(tasks().choices, {"--json", "--output", tasks().scratch / "lost.json"}))
    command += " " + word;
  const Ended ended = shell(command + "; echo it ended with $?) 2>&1 | cat");
  for (const char* part : {"\"acc_norm\":", "lost.json", "it ended with 5"})
    BOOST_TEST(ended.out.find(part) != std::string::npos, part << " is not in " << ended.out);
}

BOOST_AUTO_TEST_CASE(last_words_and_prompts) {
  const Json words = eval(tasks().words);
  BOOST_TEST(words.at("kind").as_string() == "last_word");
  BOOST_TEST(keys_of(words.at("metrics")) == (Words{"acc", "perplexity"}));
  const auto& scores = words.at("scores").as_array();
  const double loss = -(scores[0].at("log_likelihood").as_double() + scores[1].at("log_likelihood").as_double()) / 2;
  BOOST_TEST(std::abs(words.at("metrics").at("perplexity").as_double() / std::exp(loss) - 1) < 1e-12);

  const std::string alone = run_ratel(words_of(tasks().words, {"--limit=1"})).out;  // of one there is no deviation
  BOOST_TEST(alone.find("acc") != std::string::npos, alone);
  BOOST_TEST(alone.find("nan") == std::string::npos, alone);

  const Json prompts = eval(tasks().prompts, {"--metric=classification", "--max-new-tokens=7", "--stop=q"});
  BOOST_TEST(prompts.at("kind").as_string() == "generation");
  BOOST_TEST(keys_of(prompts.at("metrics")) == (Words{"classification", "string_match", "score"}));
  BOOST_TEST(prompts.at("scores").as_array()[0].at("id").as_string() == "p0");
  BOOST_TEST(prompts.at("scores").as_array()[0].at("prompt_tokens").as_int() == 13);
  const Json& second = prompts.at("scores").as_array()[1];
  const Json said = run_json({"generate", "--model", tasks().run, "--prompt", "the ", "--max-new-tokens=5"});
  BOOST_TEST(second.at("prediction").as_string() == said.at("text").as_string());
  BOOST_TEST(eval(tasks().prompts, {"--template={input}"}).at("scores").as_array()[0].at("prompt_tokens").as_int() ==
             4);
  const Json cut = eval(tasks().prompts, {"--max-length=6"});
  BOOST_TEST(cut.at("scores").as_array()[0].at("prompt_tokens").as_int() == 6);
  BOOST_TEST(cut.at("scores").as_array()[0].at("truncated").as_bool());
  BOOST_TEST((eval(tasks().prompts, {"--batch-size=1"}) == eval(tasks().prompts)));
}

BOOST_AUTO_TEST_CASE(needles_by_name_are_those_of_a_file) {
  const std::string file = tasks().scratch / "needles.jsonl", text = tasks().scratch / "text.txt";
  write(text, prose(3000));
  const Words how = {"--length=900", "--examples=3", "--seed=4"};
  for (const auto& [task, haystack] :
       {std::pair<std::string, Words>{"single_1", {}}, {"multikey_1", {"--haystack", text}}}) {
    Words making = {"needles", "--task", task, "--output", file};
    for (const Words& more : {how, haystack}) making.insert(making.end(), more.begin(), more.end());
    BOOST_TEST_REQUIRE(run_ratel(making).code == 0);
    Words more = how;
    more.insert(more.end(), haystack.begin(), haystack.end());
    const Json named = eval(task, more), read = eval(file);
    BOOST_TEST(named.at("task").as_string() == task);
    BOOST_TEST(named.at("length").as_int() == 900);
    BOOST_TEST(named.at("seed").as_int() == 4);
    BOOST_TEST(named.at("examples").as_int() == 3);
    BOOST_TEST(keys_of(named.at("metrics")) == (Words{"string_match", "answer_loss"}));
    BOOST_TEST(named.at("metrics").at("answer_loss").as_double() > 0);
    BOOST_TEST((named.at("scores") == read.at("scores")));
    BOOST_TEST((named.at("metrics") == read.at("metrics")));
    BOOST_TEST((eval(task, more).at("scores") == named.at("scores")));
  }
}

BOOST_AUTO_TEST_CASE(an_interrupted_evaluation_prints_what_was_done) {
  const std::string out = tasks().scratch / "interrupted.json";
  write(out, "{\"complete\": true}");
  Process process(words_of("single_1", {"--length=400", "--examples=20000", "--json", "--output", out}));
  while (process.is_running() && process.said().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  process.send(SIGINT);
  const Ended ended = process.wait();
  BOOST_TEST(ended.code == 130, ended.err);
  BOOST_TEST(ended.err.find("stopped early, after ") != std::string::npos, ended.err);
  BOOST_TEST(ended.err.find("; " + out + " was not written") != std::string::npos, ended.err);
  BOOST_TEST(read(out) == "{\"complete\": true}");  // what was there counts more
  const Json json = io::parse_json(ended.out, "stdout");
  BOOST_TEST(!json.at("complete").as_bool());
  BOOST_TEST(json.at("examples").as_int() == static_cast<int64_t>(json.at("scores").as_array().size()));
  BOOST_TEST(json.at("examples").as_int() > 0);
  BOOST_TEST(json.at("examples").as_int() < 20000);
  BOOST_TEST(json.at("metrics").at("answer_loss").as_double() > 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose shadow memory is above the limit
BOOST_AUTO_TEST_CASE(an_error_on_the_way_prints_what_was_done) {
  const std::string file = tasks().scratch / "long.jsonl", out = tasks().scratch / "long.json";
  std::string rows = read(tasks().choices);
  for (int i = 0; i < 2; ++i) rows += rows;  // more than are computed together
  std::string context;
  context.resize(12'000'000, 'c');
  write(file, rows + R"({"text": "", "context": ")" + context + R"(", "choices": ["a", "b"], "gold": 0})");
  std::string command = "ulimit -v 2000000; $RATEL";
  for (const std::string& word : words_of(file, {"--json", "--threads=1", "--output", out}))
    command += " '" + word + "'";
  const Ended ended = shell(command);
  BOOST_TEST(ended.code == 4, ended.err);
  BOOST_TEST(ended.err.find("ratel: " + file + ":81") != std::string::npos, ended.err);
  BOOST_TEST(ended.err.find("stopped early, after ") != std::string::npos, ended.err);
  BOOST_TEST(!std::filesystem::exists(out));
  const Json json = io::parse_json(ended.out, "stdout");
  BOOST_TEST(!json.at("complete").as_bool());
  BOOST_TEST(json.at("examples").as_int() >= 64);
}
#endif

BOOST_AUTO_TEST_CASE(what_may_be_meant_otherwise_is_said) {
  const std::string file = tasks().scratch / "said.jsonl";
  const Ended noise = run_ratel(words_of("single_2", {"--length=400", "--examples=1"}));
  BOOST_TEST(noise.code == 0);
  BOOST_TEST(noise.err.find("ratel: single_2 without --haystack hides its needles in noise") != std::string::npos,
             noise.err);
  BOOST_TEST(run_ratel(words_of("single_1", {"--length=400", "--examples=1"})).err.find("noise") == std::string::npos);
  write(file, R"({"prompt": "p", "answers": ["a"]})");
  const Ended unused = run_ratel(words_of(file, {"--template={input}"}));
  BOOST_TEST(unused.code == 0);
  BOOST_TEST(unused.err.find("--template: no row takes it") != std::string::npos, unused.err);
  BOOST_TEST(run_ratel(words_of(tasks().prompts, {"--template={input}"})).err.find("no row") == std::string::npos);
  // A task by name is no file, whatever it is called.
  const std::string named = tasks().scratch / "single_1";
  BOOST_TEST(shell("cd " + tasks().scratch / "" + " && $RATEL eval --model run --task single_1 --length 400 " +
                   "--examples 1 --output single_1")
                 .code == 0);
  BOOST_TEST(io::read_json_file(named).at("examples").as_int() == 1);
  check_fails(words_of(named), 3, named + ":1");
}

BOOST_AUTO_TEST_CASE(rows_that_are_wrong_end_it) {
  const std::string file = tasks().scratch / "wrong.jsonl";
  const auto check_row = [&](const std::string& row, const std::string& part, const Words& more = {}) {
    write(file, read(tasks().choices) + row);
    check_fails(words_of(file, more), 3, file + ":21" + part);
  };
  check_row(R"({"context": "c")", ":15");
  check_row("[]\n", ": expected an object, found an array of 0");
  check_row("{\"text\": \"two words\"}\n",
            ": expected a member \"context\", found text");  // of another kind than the first row, which is said
  check_row("{\"text\": \"two words\"}\n",
            ": expected a member \"context\", found text\nhint: the first row makes all of the kind multiple_choice, "
            "and this one");
  check_row(R"({"context": "c", "choices": ["a", "b"], "gold": 2})", ": gold: expected 0 to 1");
  write(file, R"({"prompt": "p"})");
  check_fails(words_of(file), 3, file + ":1: expected a member \"answers\", found prompt");
  write(file, R"({"prompt": "p", "answers": ["a", ""], "metric": "string_match"})");
  check_fails(words_of(file), 3, file + ":1: expected answers of at least one character");
  write(file, R"({"prompt": "p", "answers": [3]})");
  check_fails(words_of(file), 3, file + ":1: answers.0: expected a string, found 3");
  check_fails(words_of(tasks().words, {"--kind=generation"}), 3, tasks().words + ":1: ");
  check_fails(words_of(tasks().prompts, {"--kind=last_word"}), 3, "text");
  write(file, R"({"prompt": "p", "answers": ["a"]})");
  check_fails(words_of(file, {"--metric=classification"}), 3, file + ":1: expected \"all_classes\"");
  write(file, "");
  check_fails(words_of(file), 3, file + ": expected at least one row, found none");
  check_fails(words_of(tasks().scratch / "singel_1"), 3, "no such file");
  check_fails(words_of("singel_1"), 3, R"(; the nearest is "single_1")");
  check_fails(words_of("singel_1", {"--length=300"}), 3, R"(; the nearest is "single_1")");
  const std::string whole = read(tasks().prompts);
  for (size_t size = 1; size + 1 < whole.size(); size += 23) {
    write(file, whole.substr(0, size));
    if (const Ended ended = run_ratel(words_of(file)); ended.code != 0) check_failure(ended, 3, file + ":");
  }
}

BOOST_AUTO_TEST_CASE(options_that_do_not_go_together) {
  const std::string& t = tasks().choices;
  check_fails({"eval", "--model", tasks().run}, 2, "--data is missing");
  check_fails(words_of(t, {"--data", tasks().data}), 2, "expected one of --data and --task, found both");
  check_fails(words_of(t, {"--seq-len=8"}), 2, "--seq-len: expected --data with it");
  check_fails(words_of(t, {"--eos=3"}), 2, "--eos: expected --data with it");
  check_fails({"eval", "--model", tasks().run, "--data", tasks().data, "--limit=3"}, 2,
              "--limit: expected --task with it");
  check_fails({"eval", "--model", tasks().run, "--data", tasks().data, "--output=x"}, 2, "--output: expected --task");
  check_fails(words_of(t, {"--length=300"}), 2, "--length: expected a needle task");
  check_fails(words_of("single_1", {"--limit=3"}), 2, "--limit: expected a file");
  check_fails(words_of("single_1", {"--metric=f1"}), 2, "--metric: expected a file");
  check_fails(words_of("single_1", {"--length=3"}), 2, "single_1: needs at least");
  check_fails(words_of("single_1", {"--examples=1000000000000"}), 4, "the prompts of 1000000000000 examples need ");
  check_fails(words_of("single_1", {"--length=1073741825"}), 2, "--length: expected 1 to 1073741824");
  check_fails(words_of(tasks().prompts, {"--template={contex}"}), 2, "--template: expected {context} and {input}");
  check_fails(words_of(tasks().prompts, {"--template=Who?"}), 2, "--template: expected {context} or {input} in it");
  check_fails(words_of("multikey_2", {"--haystack", t}), 2, "--haystack: the haystack of multikey_2");
  check_fails(words_of(t, {"--metric=f1"}), 2,
              "--metric: expected a task of the kind generation, found multiple_choice");
  check_fails(words_of(t, {"--stop=a"}), 2, "--stop: expected a task of the kind generation");
  check_fails(words_of(t, {"--kind=essay"}), 2, R"(--kind: expected "multiple_choice", "last_word", "generation")");
  check_fails(words_of(t, {"--metric=bleu"}), 2, "--metric: expected \"f1\"");
  check_fails(words_of(t, {"--limit=-1"}), 2, "--limit");
  check_fails(words_of(t, {"--max-length=-1"}), 2, "--max-length");
  check_fails(words_of(t, {"--max-new-tokens=-1"}), 2, "--max-new-tokens");
  check_fails(words_of(t, {"--batch-size=0"}), 2, "--batch-size");
  check_fails(words_of(t, {"--max-length=2"}), 3, t + ":1: expected texts of at most 2 tokens to choose from");
}

}  // namespace ratel::test
