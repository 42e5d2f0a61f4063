#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/enum_names.h"

namespace ratel::tasks {

/// How a text that was said is held against the answers that were expected. All are from 0 to 1, the best of the
/// answers except for string_match, and 0 where there is no answer.
enum class TextMetric {
  f1,              ///< token F1 of LongBench and SQuAD
  rouge_l,         ///< ROUGE-L's F
  exact_match,     ///< the normalised texts are the same
  classification,  ///< LongBench's: which class names occur in what was said
  string_match,    ///< RULER's string_match_all: the share of the answers that occur in what was said
};
EnumNames<TextMetric> names_of(TextMetric);  ///< "f1", "rouge_l", ...

/// `classes` are the class names there are, which only classification asks for.
double text_score(TextMetric metric, std::string_view prediction, std::span<const std::string> answers,
                  std::span<const std::string> classes = {});

/// ASCII letters in lower case, without ASCII punctuation, without the words a, an and the, words parted by one space.
/// Bytes of other characters stay as they are, and belong to words.
/// Source: SQuAD, arXiv 1606.05250; LongBench, arXiv 2308.14508.
std::string normalized_answer(std::string_view text);

/// Of the words of both normalised texts: 2 P R / (P + R), where P is the share of the prediction's words that the
/// answer has too, R the reverse; a word counts as often as it occurs in both. 0 where no word is shared.
double token_f1(std::string_view prediction, std::string_view answer);

/// 2 P R / (P + R) of the longest common subsequence of words, P as its share of the prediction's words, R of the
/// answer's. Words are runs of ASCII letters, digits and bytes of other characters, in lower case, without stemming.
/// Time is the product of the lengths.
/// Source: Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, section 3.1, with beta = 1.
double rouge_l(std::string_view prediction, std::string_view answer);

/// 1 / n, if the answer is one of the n class names that occur in what was said, those left out that are a part of the
/// answer and not itself; else 0. Case counts.
/// Source: LongBench, arXiv 2308.14508.
double classification_score(std::string_view prediction, std::string_view answer, std::span<const std::string> classes);

/// The share of the answers that occur in what was said, whatever the case of ASCII letters.
/// Source: RULER, arXiv 2404.06654.
double string_match_all(std::string_view prediction, std::span<const std::string> answers);

}  // namespace ratel::tasks
