#include "tasks/needles.h"

// GCC 12 takes parts of <regex> for uninitialised where sanitizers instrument it.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "tasks/needle_words.h"

namespace ratel::tasks {
namespace {

const std::string kText =
    "Emma was handsome, clever and rich. She had lived nearly 21 years in the world! Was there much to vex her? "
    "\u201cNot "
    "a thing,\u201d said Mr. Knightley. Caf\u00e9 and na\u00efve are words of several bytes; \u4f60\u597d too.\n\n"
    "The next paragraph begins here, and goes on for a while, so that there is a sentence of another length.\n";

std::vector<NeedleTask> all_tasks() {
  std::vector<NeedleTask> tasks;
  for (const auto& [task, name] : names_of(NeedleTask{})) tasks.push_back(task);
  return tasks;
}

NeedleOptions options_of(NeedleTask task, int64_t length = 3000) {
  NeedleOptions options;
  options.task = task;
  options.length = length;
  options.seed = 7;
  return options;
}

struct Found {
  std::string key, value;
  size_t at;
};

/// The needles in a prompt, in the order of the text.
std::vector<Found> needles_in(const std::string& prompt) {
  static const std::regex needle("One of the special magic (?:number|uuid)s for ([a-z0-9-]+) is: ([a-z0-9-]+)\\.");
  std::vector<Found> all;
  for (std::sregex_iterator at(prompt.begin(), prompt.end(), needle), end; at != end; ++at)
    all.push_back({(*at)[1], (*at)[2], static_cast<size_t>(at->position())});
  return all;
}

/// The keys that the question names.
std::vector<std::string> asked_in(const std::string& prompt) {
  const std::string question = prompt.substr(prompt.rfind('\n') + 1);
  std::string keys = question.substr(question.find(" for ") + 5);
  keys = keys.substr(0, keys.find(" mentioned in"));
  std::vector<std::string> all;
  static const std::regex one_key("[a-z0-9]+(?:-[a-z0-9]+)+");
  for (std::sregex_iterator at(keys.begin(), keys.end(), one_key), end; at != end; ++at) all.push_back(at->str());
  return all;
}

bool same(const NeedleExample& a, const NeedleExample& b) {
  return a.prompt == b.prompt && a.answers == b.answers && a.completion == b.completion &&
         a.max_new_tokens == b.max_new_tokens;
}

int64_t tokens(const Tokenizer& tokenizer, const std::string& text) {
  return static_cast<int64_t>(tokenizer.encode(text).size());
}

BOOST_AUTO_TEST_CASE(an_example_in_full) {
  NeedleOptions options = options_of(NeedleTask::single_1, 430);
  const NeedleExample example = needle_example(options, 0);
  const auto needles = needles_in(example.prompt);
  BOOST_REQUIRE(needles.size() == 1U);
  const auto& [key, value, at] = needles.front();
  std::string without = example.prompt;
  without.erase(at - 1, without.find('.', at) + 2 - at);  // with the space before it
  BOOST_TEST(without ==
             "Some special magic numbers are hidden within the following text. Make sure to memorize it. I will quiz "
             "you about the numbers afterwards.\nThe grass is green. The sky is blue. The sun is yellow.\nWhat is the "
             "special magic number for " +
                 key + " mentioned in the provided text? The special magic number for " + key +
                 " mentioned in the provided text is");
  BOOST_TEST(example.completion == " " + value + ".");
  BOOST_TEST(example.answers.size() == 1U);
  BOOST_TEST(example.answers.front() == value);
  BOOST_TEST(example.max_new_tokens == 9);
}

BOOST_AUTO_TEST_CASE(every_task_hides_and_asks_what_its_name_says) {
  struct Expected {
    size_t needles, keys, asked, answers;  // needles 0: a haystack of them
    bool uuid_keys, uuid_values;
  };
  const std::map<std::string, Expected> table = {
      {"single_1", {1, 1, 1, 1, false, false}},   {"single_2", {1, 1, 1, 1, false, false}},
      {"single_3", {1, 1, 1, 1, false, true}},    {"multikey_1", {4, 4, 1, 1, false, false}},
      {"multikey_2", {0, 0, 1, 1, false, false}}, {"multikey_3", {0, 0, 1, 1, true, true}},
      {"multivalue", {4, 1, 1, 4, false, false}}, {"multiquery", {4, 4, 4, 4, false, false}}};
  const std::regex number("[1-9][0-9]{6}"), words("[a-z]+-[a-z]+"),
      uuid("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  for (const auto& [task, name] : names_of(NeedleTask{})) {
    const Expected& expected = table.at(std::string(name));
    for (int64_t index = 0; index < 5; ++index) {
      const NeedleExample example = needle_example(options_of(task), index);
      const auto needles = needles_in(example.prompt);
      const auto asked = asked_in(example.prompt);
      std::set<std::string> keys, values;
      for (const Found& needle : needles) {
        keys.insert(needle.key);
        values.insert(needle.value);
        BOOST_TEST(std::regex_match(needle.key, expected.uuid_keys ? uuid : words), needle.key);
        BOOST_TEST(std::regex_match(needle.value, expected.uuid_values ? uuid : number), needle.value);
      }
      BOOST_TEST_CONTEXT(name << " " << index) {
        if (expected.needles > 0)
          BOOST_TEST(needles.size() == expected.needles);
        else
          BOOST_TEST(needles.size() > 15U);
        BOOST_TEST(keys.size() == (expected.needles > 0 ? expected.keys : needles.size()));
        BOOST_TEST(values.size() == needles.size());
        BOOST_TEST(asked.size() == expected.asked);
        // The answers are the values of the keys asked for, key after key, each in the order of the text.
        std::vector<std::string> answers;
        for (const std::string& key : asked)
          for (const Found& needle : needles)
            if (needle.key == key) answers.push_back(needle.value);
        BOOST_TEST(example.answers.size() == expected.answers);
        BOOST_TEST(example.answers == answers, boost::test_tools::per_element());
        std::string completion = " ";
        for (size_t i = 0; i < answers.size(); ++i)
          completion += (i == 0 ? "" : i + 1 < answers.size() ? ", " : ", and ") + answers[i];
        BOOST_TEST(example.completion == completion + ".");
        BOOST_TEST(example.prompt.ends_with(expected.answers > 1 ? " are" : " is"));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(an_example_depends_on_seed_task_and_index_alone) {
  for (const NeedleTask task : all_tasks()) {
    NeedleOptions options = options_of(task, 1500);
    std::vector<NeedleExample> forwards;
    for (int64_t i = 0; i < 4; ++i) forwards.push_back(needle_example(options, i));
    for (int64_t i = 3; i >= 0; --i) BOOST_TEST(same(needle_example(options, i), forwards[static_cast<size_t>(i)]));
    BOOST_TEST(!same(forwards[0], forwards[1]));
    options.seed = 8;
    BOOST_TEST(needle_example(options, 0).answers != forwards[0].answers);
    // A longer text hides the same.
    options = options_of(task, 6000);
    const NeedleExample longer = needle_example(options, 0);
    BOOST_TEST(longer.answers == forwards[0].answers);
    BOOST_TEST(longer.prompt.size() > forwards[0].prompt.size());
  }
  BOOST_TEST(needle_example(options_of(NeedleTask::single_1), 0).answers !=
             needle_example(options_of(NeedleTask::single_2), 0).answers);
}

BOOST_AUTO_TEST_CASE(needles_lie_at_all_depths) {
  std::vector<int> tenths(10);
  for (int64_t i = 0; i < 400; ++i) {
    const NeedleExample example = needle_example(options_of(NeedleTask::single_1, 2000), i);
    const size_t begin = example.prompt.find('\n') + 1, end = example.prompt.rfind('\n');
    const double depth =
        static_cast<double>(needles_in(example.prompt).front().at - begin) / static_cast<double>(end - begin);
    ++tenths[static_cast<size_t>(depth * 10)];
  }
  for (const int count : tenths) BOOST_TEST(count >= 20);  // 40 are expected
}

BOOST_AUTO_TEST_CASE(bytes_fill_the_length_up_to_one_sentence) {
  for (const NeedleTask task : all_tasks())
    for (const std::string& haystack : {std::string(), kText})
      for (const int64_t length : {1200, 1777, 4096}) {
        NeedleOptions options = options_of(task, length);
        options.haystack = haystack;
        const NeedleExample example = needle_example(options, length);
        const auto size = static_cast<int64_t>(example.prompt.size() + example.completion.size());
        BOOST_TEST(size <= length);
        BOOST_TEST(size > length - 130);  // no sentence of these is longer
        BOOST_TEST(example.max_new_tokens == static_cast<int64_t>(example.completion.size()));
        if (takes_haystack(task))
          BOOST_TEST((example.prompt.find("The grass is green.") != std::string::npos) == haystack.empty());
      }
}

BOOST_AUTO_TEST_CASE(as_many_sentences_as_fit_are_there) {
  for (const NeedleTask task : all_tasks()) {
    const NeedleExample longest = needle_example(options_of(task, 3000), 2);
    const auto size = static_cast<int64_t>(longest.prompt.size() + longest.completion.size());
    BOOST_TEST(same(needle_example(options_of(task, size), 2), longest));
    BOOST_TEST(needle_example(options_of(task, size - 1), 2).prompt.size() < longest.prompt.size());
  }
}

BOOST_AUTO_TEST_CASE(pieces_fill_the_length_up_to_one_sentence) {
  for (const char* file : {"llama.model", "unigram.model"}) {
    const Tokenizer tokenizer = Tokenizer::open(RATEL_SOURCE_DIR "/test/golden/tokenizers/" + std::string(file));
    for (const NeedleTask task : all_tasks()) {
      NeedleOptions options = options_of(task, 1500);
      options.haystack = kText;
      options.tokenizer = tokenizer;
      const NeedleExample example = needle_example(options, 3);
      const int64_t size = tokens(tokenizer, example.prompt + example.completion);
      BOOST_TEST(size <= options.length);
      BOOST_TEST(size > options.length - 130);
      BOOST_TEST(tokens(tokenizer, example.prompt) + example.max_new_tokens <= options.length);
      BOOST_TEST(example.max_new_tokens >= size - tokens(tokenizer, example.prompt));
    }
  }
}

BOOST_AUTO_TEST_CASE(room_is_left_for_what_the_model_may_say) {
  NeedleOptions options = options_of(NeedleTask::single_1, 1000);
  options.max_new_tokens = 128;
  const NeedleExample example = needle_example(options, 0);
  BOOST_TEST(example.max_new_tokens == 128);
  BOOST_TEST(example.prompt.size() + 128 <= 1000U);
  BOOST_TEST(example.prompt.size() + 128 > 1000U - 25);
  options.max_new_tokens = 2;  // the completion needs more
  BOOST_TEST(needle_example(options, 0).max_new_tokens == 9);
}

BOOST_AUTO_TEST_CASE(an_exact_length_is_exact) {
  for (const NeedleTask task : all_tasks())
    for (const std::string& haystack : {std::string(), kText})
      for (int64_t length = 1300; length < 1460; ++length) {  // every remainder of a sentence
        NeedleOptions options = options_of(task, length);
        options.haystack = haystack;
        options.fit = LengthFit::exact;
        const NeedleExample example = needle_example(options, length);
        BOOST_TEST(static_cast<int64_t>(example.prompt.size() + example.completion.size()) + 1 == length);
        const std::string& last = example.answers.back();
        BOOST_TEST(example.prompt.find(" is: " + last + ".") != std::string::npos);
        // No character was cut in two.
        const size_t hay = example.prompt.find('\n') + 1;
        BOOST_TEST((static_cast<unsigned char>(example.prompt[hay]) & 0xC0) != 0x80);
      }
}

BOOST_AUTO_TEST_CASE(the_least_length_is_told_and_enough) {
  for (const NeedleTask task : all_tasks())
    for (const LengthFit fit : {LengthFit::at_most, LengthFit::exact}) {
      NeedleOptions options = options_of(task, 10);
      options.fit = fit;
      int64_t least = 0;
      BOOST_CHECK_EXCEPTION(needle_example(options, 4), Error, [&](const Error& error) {
        const std::string what = error.what();
        const std::string start = std::string(name_in(names_of(task), task)) + ": needs at least ";
        if (!what.starts_with(start) || !what.ends_with(" tokens for example 4, found 10")) return false;
        least = std::stoll(what.substr(start.size()));
        return error.kind() == ErrorKind::usage;
      });
      options.length = least - 1;
      BOOST_CHECK_THROW(needle_example(options, 4), Error);
      for (const int64_t more : {0, 1, 2, 3, 25, 70}) {
        options.length = least + more;
        const NeedleExample example = needle_example(options, 4);
        const auto size = static_cast<int64_t>(example.prompt.size() + example.completion.size());
        BOOST_TEST(size <= options.length);
        if (fit == LengthFit::exact) BOOST_TEST(size + 1 == options.length);
      }
    }
}

BOOST_AUTO_TEST_CASE(what_cannot_be_is_refused) {
  NeedleOptions options = options_of(NeedleTask::single_2);
  BOOST_CHECK_THROW(needle_example(options, -1), Error);
  options.seed = -1;
  BOOST_CHECK_THROW(needle_example(options, 0), Error);
  options = options_of(NeedleTask::single_2);
  options.haystack = " \n";
  BOOST_CHECK_THROW(needle_example(options, 0), Error);
  options = options_of(NeedleTask::single_2);
  options.max_new_tokens = -1;
  BOOST_CHECK_THROW(needle_example(options, 0), Error);
  options.max_new_tokens = 128;
  options.fit = LengthFit::exact;
  BOOST_CHECK_THROW(needle_example(options, 0), Error);
  options.max_new_tokens = 0;
  options.tokenizer = Tokenizer::open(RATEL_SOURCE_DIR "/test/golden/tokenizers/llama.model");
  BOOST_CHECK_THROW(needle_example(options, 0), Error);
}

BOOST_AUTO_TEST_CASE(tasks_have_rulers_names_too) {
  BOOST_TEST((needle_task("multikey_2") == NeedleTask::multikey_2));
  BOOST_TEST((needle_task("niah_multikey_2") == NeedleTask::multikey_2));
  BOOST_TEST(!needle_task("niah"));
  BOOST_TEST(!needle_task("single_4"));
}

BOOST_AUTO_TEST_CASE(keys_are_different_words) {
  std::set<std::string> keys, adjectives, nouns;
  for (int64_t i = 0; i < needle_keys(); ++i) {
    const std::string key = needle_key(i);
    BOOST_REQUIRE(key.find_first_not_of("abcdefghijklmnopqrstuvwxyz-") == std::string::npos);
    BOOST_REQUIRE(std::ranges::count(key, '-') == 1);
    keys.insert(key);
    adjectives.insert(key.substr(0, key.find('-')));
    nouns.insert(key.substr(key.find('-') + 1));
  }
  BOOST_TEST(static_cast<int64_t>(keys.size()) == needle_keys());
  BOOST_TEST(static_cast<int64_t>(adjectives.size() * nouns.size()) == needle_keys());
  BOOST_TEST(keys.size() > 40'000U);
  BOOST_CHECK_THROW(needle_key(-1), Error);
  BOOST_CHECK_THROW(needle_key(needle_keys()), Error);
}

}  // namespace
BOOST_AUTO_TEST_CASE(a_stop_ends_a_haystack) {
  NeedleOptions how;
  how.length = kLongestNeedles;
  int asked = 0;
  how.stop = [&] { return ++asked > 4; };
  BOOST_TEST(needle_example(how, 0).prompt.size() < 10'000u);
  how.stop = {};
  ++how.length;
  BOOST_CHECK_THROW(needle_example(how, 0), Error);
}

}  // namespace ratel::tasks
