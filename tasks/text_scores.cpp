#include "tasks/text_scores.h"

#include <algorithm>
#include <map>
#include <vector>

#include "core/text.h"

namespace ratel::tasks {
namespace {

constexpr std::pair<TextMetric, std::string_view> kMetrics[] = {{TextMetric::f1, "f1"},
                                                                {TextMetric::rouge_l, "rouge_l"},
                                                                {TextMetric::exact_match, "exact_match"},
                                                                {TextMetric::classification, "classification"},
                                                                {TextMetric::string_match, "string_match"}};

// Of ASCII, whatever the locale.
bool is_letter_or_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }
bool is_punctuation(char c) { return c > ' ' && c < '\x7f' && !is_letter_or_digit(c); }

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& letter : result)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  return result;
}

/// The longest runs of characters that are `part` of a word.
template <class Part>
std::vector<std::string_view> words_of(std::string_view text, Part&& part) {
  std::vector<std::string_view> words;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    while (at < text.size() && part(text[at])) ++at;
    if (at > begin) words.push_back(text.substr(begin, at - begin));
    while (at < text.size() && !part(text[at])) ++at;
  }
  return words;
}

double harmonic_mean(size_t common, size_t predicted, size_t expected) {
  if (common == 0) return 0;
  const double precision = static_cast<double>(common) / static_cast<double>(predicted);
  const double recall = static_cast<double>(common) / static_cast<double>(expected);
  return 2 * precision * recall / (precision + recall);
}

std::vector<std::string_view> normalized_words(std::string_view normalized) {
  return words_of(normalized, [](char c) { return c != ' '; });
}

double score_of(TextMetric metric, std::string_view prediction, const std::string& answer,
                std::span<const std::string> classes) {
  switch (metric) {
    case TextMetric::f1: return token_f1(prediction, answer);
    case TextMetric::rouge_l: return rouge_l(prediction, answer);
    case TextMetric::exact_match: return normalized_answer(prediction) == normalized_answer(answer) ? 1 : 0;
    case TextMetric::classification: return classification_score(prediction, answer, classes);
    case TextMetric::string_match: break;
  }
  return string_match_all(prediction, {&answer, 1});
}

}  // namespace

EnumNames<TextMetric> names_of(TextMetric) { return kMetrics; }

double text_score(TextMetric metric, std::string_view prediction, std::span<const std::string> answers,
                  std::span<const std::string> classes) {
  if (metric == TextMetric::string_match) return string_match_all(prediction, answers);
  double best = 0;
  for (const std::string& answer : answers) best = std::max(best, score_of(metric, prediction, answer, classes));
  return best;
}

std::string normalized_answer(std::string_view text) {
  std::string kept = lower(text);
  std::erase_if(kept, is_punctuation);
  std::string result;
  for (const std::string_view word : words_of(kept, [](char c) { return !is_space(c); })) {
    if (word == "a" || word == "an" || word == "the") continue;
    if (!result.empty()) result += ' ';
    result += word;
  }
  return result;
}

double token_f1(std::string_view prediction, std::string_view answer) {
  const std::string said = normalized_answer(prediction), expected = normalized_answer(answer);
  const auto said_words = normalized_words(said), expected_words = normalized_words(expected);
  std::map<std::string_view, size_t> left;  // of the answer's words
  for (const std::string_view word : expected_words) ++left[word];
  size_t common = 0;
  for (const std::string_view word : said_words)
    if (const auto found = left.find(word); found != left.end() && found->second > 0) {
      --found->second;
      ++common;
    }
  return harmonic_mean(common, said_words.size(), expected_words.size());
}

double rouge_l(std::string_view prediction, std::string_view answer) {
  const auto is_part = [](char c) { return is_letter_or_digit(c) || !is_ascii(c); };
  const std::string said = lower(prediction), expected = lower(answer);
  const auto said_words = words_of(said, is_part), expected_words = words_of(expected, is_part);
  // longest[j]: of what was said so far and the first j words of the answer.
  std::vector<size_t> longest(expected_words.size() + 1, 0);
  for (const std::string_view word : said_words) {
    size_t before = 0;  // longest[j - 1] without this word
    for (size_t j = 1; j < longest.size(); ++j) {
      const size_t without = longest[j];
      longest[j] = word == expected_words[j - 1] ? before + 1 : std::max(without, longest[j - 1]);
      before = without;
    }
  }
  return harmonic_mean(longest.back(), said_words.size(), expected_words.size());
}

double classification_score(std::string_view prediction, std::string_view answer,
                            std::span<const std::string> classes) {
  size_t matched = 0;
  bool is_right = false;
  for (const std::string& name : classes) {
    if (prediction.find(name) == std::string_view::npos) continue;
    const bool is_part = name != answer && answer.find(name) != std::string_view::npos;
    if (!is_part) ++matched;
    is_right = is_right || name == answer;
  }
  return is_right ? 1 / static_cast<double>(matched) : 0;
}

double string_match_all(std::string_view prediction, std::span<const std::string> answers) {
  if (answers.empty()) return 0;
  const std::string said = lower(prediction);
  const auto found = std::ranges::count_if(
      answers, [&](const std::string& answer) { return said.find(lower(answer)) != std::string::npos; });
  return static_cast<double>(found) / static_cast<double>(answers.size());
}

}  // namespace ratel::tasks
