// Rows of every kind, and what is wrong with them.
#include "tasks/task_rows.h"

#include <boost/test/unit_test.hpp>
#include <fstream>
#include <random>

#include "core/error.h"
#include "test/support/temporary_folder.h"

using ratel::Error;
using ratel::ErrorKind;
using ratel::tasks::check_template;
using ratel::tasks::for_each_task_row;
using ratel::tasks::generation_row;
using ratel::tasks::GenerationRow;
using ratel::tasks::kind_of;
using ratel::tasks::last_word_row;
using ratel::tasks::multiple_choice_row;
using ratel::tasks::MultipleChoiceRow;
using ratel::tasks::read_task_rows;
using ratel::tasks::TaskKind;
using ratel::tasks::TaskRow;
using ratel::tasks::TextMetric;
using ratel::test::TemporaryFolder;

namespace {

constexpr const char* kTemplate = "{context}\n\n{input}";

TaskRow row_of(const std::string& text) { return {"x.jsonl:7", ratel::io::parse_json(text, "x.jsonl:7")}; }

/// Reads a row as `ratel eval` does.
void read_row(const TaskRow& row) {
  switch (kind_of(row)) {
    case TaskKind::multiple_choice: multiple_choice_row(row); break;
    case TaskKind::last_word: last_word_row(row); break;
    case TaskKind::generation: generation_row(row, kTemplate);
  }
}

void check_refused(const std::string& text, const std::string& part) {
  BOOST_TEST_CONTEXT(text)
  BOOST_CHECK_EXCEPTION(read_row(row_of(text)), Error, [&](const Error& error) {
    const std::string what = error.what();
    BOOST_TEST(what.find('\n') == std::string::npos);
    BOOST_TEST(what.starts_with("x.jsonl:7: "), what);
    BOOST_TEST(what.find(part) != std::string::npos, "found '" << what << "', expected '" << part << "'");
    return error.kind() == ErrorKind::input;
  });
}

void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

const std::string kRows =
    R"({"context": "The cat sat on", "choices": ["the mat", "a hat"], "gold": 1, "id": "q-1"})"
    "\n\n"
    R"({"contexts": ["Ann met Bob. Ann", "Ann met Bob. Bob"], "continuation": "said hello.", "gold": 0})"
    "\n"
    R"({"text": "It is a truth universally acknowledged"})"
    "\n"
    R"({"input": "Who?", "context": "Emma.", "answers": ["Emma", "she"], "all_classes": null, "dataset": "qa", "_id": 5})"
    "\n"
    R"({"prompt": "Say yes", "answers": "yes", "metric": "exact_match", "max_new_tokens": 3, "all_classes": ["a"]})"
    "\n";

}  // namespace

BOOST_AUTO_TEST_CASE(choices_after_one_context) {
  const MultipleChoiceRow row = multiple_choice_row(
      row_of(R"({"context": "Café au", "choices": ["lait é", "x"], "gold": 1, "id": "q-1", "more": [1]})"));
  BOOST_TEST(row.choices.size() == 2u);
  BOOST_TEST(row.contexts == std::vector<std::string>{"Café au"});  // once, however many choices there are
  BOOST_TEST(row.choices[1].context == 0u);
  BOOST_TEST(row.choices[0].continuation == " lait é");
  BOOST_TEST(row.choices[0].length == 6);  // characters, not bytes, without the space
  BOOST_TEST(row.gold == 1);
  BOOST_TEST(row.id.as_string() == "q-1");
  BOOST_TEST(row.where == "x.jsonl:7");
  // A context that ends in white space parts the two itself; an empty one does not.
  BOOST_TEST(
      multiple_choice_row(row_of(R"({"query": "Q:\n", "choices": ["a", "b"], "label": 0})")).choices[1].continuation ==
      "b");
  BOOST_TEST(
      multiple_choice_row(row_of(R"({"query": "", "choices": ["a", "b"], "label": 0})")).choices[1].continuation ==
      " b");
  BOOST_TEST(multiple_choice_row(row_of(R"({"query": "q", "choices": ["a", "b"], "answer": "b"})")).gold == 1);
  // An index may be a text, unless a choice is that text.
  BOOST_TEST(multiple_choice_row(row_of(R"({"query": "q", "choices": ["a", "b"], "label": "1"})")).gold == 1);
  BOOST_TEST(multiple_choice_row(row_of(R"({"query": "q", "choices": ["1", "b"], "label": "1"})")).gold == 0);
}

BOOST_AUTO_TEST_CASE(choices_that_would_fill_the_memory_are_refused) {
  std::string choices = R"("a")";
  for (int i = 1; i < 2000; ++i) choices += R"(, "a")";
  const auto row_with = [&](size_t bytes) {
    return R"({"context": ")" + std::string(bytes, 'c') + R"(", "choices": [)" + choices + R"(], "gold": 3})";
  };
  const size_t most = ratel::tasks::kMostChoiceBytes / 2000 - 2;
  BOOST_TEST(multiple_choice_row(row_of(row_with(most))).choices.size() == 2000u);
  check_refused(row_with(most + 1),
                "expected choices of at most 33554432 bytes, each with its context before it, found 2000 of");
}

BOOST_AUTO_TEST_CASE(contexts_before_one_continuation) {
  const MultipleChoiceRow row =
      multiple_choice_row(row_of(R"({"contexts": ["He", "She "], "continuation": "left.", "answer": 1})"));
  BOOST_TEST(row.contexts == (std::vector<std::string>{"He", "She "}));
  BOOST_TEST(row.choices[0].context == 0u);
  BOOST_TEST(row.choices[0].continuation == " left.");
  BOOST_TEST(row.choices[1].context == 1u);
  BOOST_TEST(row.choices[1].continuation == "left.");
  BOOST_TEST(row.choices[0].length == 2);  // of the contexts: they are what is chosen
  BOOST_TEST(row.choices[1].length == 4);
}

BOOST_AUTO_TEST_CASE(the_last_word_is_what_follows_the_last_space) {
  const auto row = last_word_row(row_of(R"({"text": "a truth  universally\nknown: yes. \n", "id": 3})"));
  BOOST_TEST(row.context == "a truth  universally\nknown:");
  BOOST_TEST(row.continuation == " yes.");
  BOOST_TEST(row.id.as_int() == 3);
}

BOOST_AUTO_TEST_CASE(prompts_are_given_or_made) {
  GenerationRow row = generation_row(
      row_of(
          R"({"input": "Who {context}?", "context": "Emma.", "answers": ["E"], "all_classes": ["a", "b"], "_id": "i"})"),
      "{context}: {input} {{ {} {a b} {input");
  BOOST_TEST(row.prompt == "Emma.: Who {context}? {{ {} {a b} {input");
  BOOST_TEST(row.answers == std::vector<std::string>{"E"});
  BOOST_TEST(row.classes == (std::vector<std::string>{"a", "b"}));
  BOOST_TEST(!row.metric);
  BOOST_TEST(!row.max_new_tokens);
  BOOST_TEST(row.completion.empty());
  row = generation_row(
      row_of(
          R"({"prompt": "P", "input": "i", "answers": "yes", "metric": "rouge_l", "max_new_tokens": 3, "completion": " yes"})"),
      kTemplate);
  BOOST_TEST(row.prompt == "P");
  BOOST_TEST(row.answers == std::vector<std::string>{"yes"});
  BOOST_TEST((row.metric == TextMetric::rouge_l));
  BOOST_TEST(row.max_new_tokens.value() == 3);
  BOOST_TEST(row.completion == " yes");
  BOOST_TEST(generation_row(row_of(R"({"input": "alone", "answers": ["x"]})"), "{input}").prompt == "alone");
}

BOOST_AUTO_TEST_CASE(templates_have_members_that_there_are) {
  check_template("{{context}}, {} and {a b}", "--template");
  check_template("{input}", "--template");
  const auto check_wrong = [](const char* prompt_template, const std::string& expected) {
    BOOST_CHECK_EXCEPTION(check_template(prompt_template, "--template"), Error, [&](const Error& error) {
      BOOST_TEST(error.what() == expected);
      return error.kind() == ErrorKind::usage;
    });
  };
  check_wrong("{contxt}: {input}",
              "--template: expected {context} and {input} in braces, found {contxt}; the nearest is \"context\"");
  check_wrong("{input} {question_2}", "--template: expected {context} and {input} in braces, found {question_2}");
  check_wrong("Say yes", R"(--template: expected {context} or {input} in it, found "Say yes")");
}

BOOST_AUTO_TEST_CASE(rows_that_cannot_work_are_refused) {
  check_refused("{}", R"(expected a row with "choices", "contexts", "answers" or "text", found an object of 0)");
  check_refused(R"({"choices": null})", "expected a row with");
  check_refused(R"({"choices": ["a", "b"], "gold": 0})", "context");
  check_refused(R"({"context": 3, "choices": ["a", "b"], "gold": 0})", "context: expected a string, found 3");
  check_refused(R"({"context": "c", "query": "q", "choices": ["a", "b"], "gold": 0})",
                R"(expected one of "context" and "query", found both)");
  check_refused(R"({"context": "c", "choices": "ab", "gold": 0})", "choices: expected an array");
  check_refused(R"({"context": "c", "choices": ["a", 4], "gold": 0})", "choices.1: expected a string, found 4");
  check_refused(R"({"context": "c", "choices": ["a", ""], "gold": 0})", "choices.1: expected at least one character");
  check_refused(R"({"context": "c", "choices": ["a"], "gold": 0})", "expected at least 2 choices, found 1");
  check_refused(R"({"context": "c", "choices": ["a", "b"]})", "gold");
  check_refused(R"({"context": "c", "choices": ["a", "b"], "gold": 2})",
                "gold: expected 0 to 1 for 2 choices, found 2");
  check_refused(R"({"context": "c", "choices": ["a", "b"], "label": -1})", "label: expected 0 to 1");
  check_refused(R"({"context": "c", "choices": ["a", "b"], "gold": 0.5})", "gold: expected an integer");
  check_refused(R"({"context": "c", "choices": ["a", "b"], "gold": [0]})", "gold: expected an integer");
  check_refused(R"({"context": "c", "choices": ["a", "b"], "gold": 0, "label": 0})",
                R"(expected one of "gold" and "label", found both)");
  check_refused(R"({"context": "c", "choices": ["a", "b"], "answer": "2"})",
                "answer: expected an index from 0 to 1 or the text");
  check_refused(R"({"context": "c", "choices": ["a", "b"], "answer": "-1"})", "answer: expected an index from 0 to 1");
  check_refused(R"({"context": "c", "choices": ["a", "b"], "answer": "1 "})", "answer: expected an index from 0 to 1");
  check_refused(R"({"context": "c", "choices": ["a", "a"], "answer": "a"})",
                "answer: expected an index from 0 to 1 or the text");
  check_refused(R"({"context": "c", "choices": ["0", "0"], "answer": "0"})", "answer: expected an index from 0 to 1");
  check_refused(R"({"prompt": "p"})", "answers");
  check_refused(R"({"contexts": ["a", "b"], "choices": ["a", "b"], "continuation": "c", "gold": 0})", "found both");
  check_refused(R"({"contexts": ["a", "b"], "gold": 0})", "continuation");
  check_refused(R"({"contexts": ["a", "b"], "continuation": "", "gold": 0})", "continuation: expected at least one");
  check_refused(R"({"text": 5})", "text: expected a string, found 5");
  check_refused(R"({"text": ""})", "text: expected at least two words");
  check_refused(R"({"text": " word "})", "text: expected at least two words");
  check_refused(R"({"text": "two\nlines"})", "text: expected at least two words");
  check_refused(R"({"answers": ["a"]})", "context");
  check_refused(R"({"answers": ["a"], "context": "c"})", "input");
  check_refused(R"({"answers": ["a"], "prompt": ""})", "expected a prompt, found an empty text");
  check_refused(R"({"answers": [], "prompt": "p"})", "answers: expected at least one answer");
  check_refused(R"({"answers": {"a": 1}, "prompt": "p"})", "answers: expected an array");
  check_refused(R"({"answers": ["a", null], "prompt": "p"})", "answers.1: expected a string, found null");
  check_refused(R"({"answers": ["a"], "prompt": "p", "all_classes": "x"})", "all_classes: expected an array");
  check_refused(R"({"answers": ["a"], "prompt": "p", "metric": "bleu"})", R"(metric: expected "f1", "rouge_l")");
  check_refused(R"({"answers": ["a"], "prompt": "p", "max_new_tokens": 0})", "max_new_tokens: expected 1 to");
  check_refused(R"({"answers": ["a"], "prompt": "p", "max_new_tokens": 1073741825})", "max_new_tokens: expected 1 to");
  check_refused(R"({"answers": ["a"], "prompt": "p", "completion": 1})", "completion: expected a string");
}

BOOST_AUTO_TEST_CASE(files_are_read_by_lines) {
  const TemporaryFolder folder;
  const std::string path = folder / "rows.jsonl";
  write(path, kRows);
  const auto rows = read_task_rows(path);
  BOOST_TEST_REQUIRE(rows.size() == 5u);
  BOOST_TEST(rows[0].where == path + ":1");
  BOOST_TEST(rows[1].where == path + ":3");  // an empty line is none
  BOOST_TEST((kind_of(rows[0]) == TaskKind::multiple_choice));
  BOOST_TEST((kind_of(rows[2]) == TaskKind::last_word));
  BOOST_TEST((kind_of(rows[4]) == TaskKind::generation));
  BOOST_TEST(read_task_rows(path, 2).size() == 2u);
  const auto nothing = [](const TaskRow&) {};
  BOOST_TEST(for_each_task_row(
      path, 0, [] { return false; }, nothing));
  BOOST_TEST(!for_each_task_row(
      path, 0, [] { return true; }, nothing));

  const auto check_file = [&](const std::string& bytes, const std::string& part) {
    write(path, bytes);
    BOOST_CHECK_EXCEPTION(read_task_rows(path), Error, [&](const Error& error) {
      BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, error.what());
      return error.kind() == ErrorKind::input;
    });
  };
  check_file("", path + ": expected at least one row, found none");
  check_file("\n \n", path + ": expected at least one row, found none");
  check_file("{}\n[1]\n", path + ":2: expected an object, found an array of 1");
  check_file("{}\n\n{\"a\": }\n", path + ":3:");
  check_file("{\"a\": 1, \"a\": 2}\n", path + ":1:");
  check_file("{\"a\": \"\xff\"}\n", path + ":1:");
  BOOST_CHECK_THROW(read_task_rows(folder / "none.jsonl"), Error);
  BOOST_CHECK_EXCEPTION(read_task_rows(folder / ""), Error, [](const Error& error) {
    return std::string(error.what()).find("expected a file, found a folder") != std::string::npos;
  });
}

BOOST_AUTO_TEST_CASE(a_file_cut_or_changed_anywhere_is_read_or_refused) {
  const TemporaryFolder folder;
  const std::string path = folder / "rows.jsonl";
  int read = 0, refused = 0;
  const auto try_bytes = [&](const std::string& bytes) {
    write(path, bytes);
    try {
      for (const TaskRow& row : read_task_rows(path)) read_row(row);
      ++read;
    } catch (const Error& error) {
      ++refused;
      BOOST_TEST((error.kind() == ErrorKind::input), error.what());
      BOOST_TEST(std::string(error.what()).starts_with(path + ":"), error.what());
    }
  };
  for (size_t size = 0; size <= kRows.size(); ++size) try_bytes(kRows.substr(0, size));
  BOOST_TEST(read == 11);  // after a row, with its line break and without, and after an empty line
  std::mt19937 random(4);
  for (int i = 0; i < 200; ++i) {
    std::string changed = kRows;
    changed[random() % changed.size()] = static_cast<char>(random() % 256);
    try_bytes(changed);
  }
  BOOST_TEST(refused > 500);
}
