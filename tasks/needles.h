#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/enum_names.h"
#include "text/tokenizer.h"

namespace ratel::tasks {

/// RULER's needles in a haystack: sentences "One of the special magic numbers for KEY is: VALUE." hidden in a text, and
/// a question for values of theirs. Keys are two words, numbers have 7 digits.
/// Source: Hsieh et al., "RULER: What's the real context size of your long-context language models?",
/// arXiv 2404.06654, section 3.1 and appendices B and C. Words, texts and order are ours.
enum class NeedleTask {
  single_1,    ///< one needle, in noise
  single_2,    ///< one needle, in the given text
  single_3,    ///< the same; its value is a UUID
  multikey_1,  ///< 4 needles of different keys, one asked for
  multikey_2,  ///< the haystack is made of needles of other keys
  multikey_3,  ///< the same; keys and values are UUIDs
  multivalue,  ///< 4 needles of one key, all values asked for
  multiquery,  ///< 4 needles of different keys, all asked for
};
EnumNames<NeedleTask> names_of(NeedleTask);  ///< "single_1", ...
/// The task of that name, with RULER's "niah_" before it or without; nothing where there is none.
std::optional<NeedleTask> needle_task(std::string_view name);
/// Whether NeedleOptions::haystack is used.
bool takes_haystack(NeedleTask task);

/// How long an example is.
enum class LengthFit {
  at_most,  ///< as long as whole sentences make it
  exact,  ///< prompt + completion + end-of-text are exactly `length` tokens; for fine-tuning on windows of that length
};

struct NeedleOptions {
  NeedleTask task = NeedleTask::single_1;
  int64_t length = 4096;  ///< tokens of prompt + completion at most; the model's own beginning of a text not counted
  int64_t seed = 0;
  /// A text, of which an example takes sentences from a random one on, and from its beginning again where it ends;
  /// white space between words becomes one space. Empty: noise, five short sentences again and again. Any task but
  /// multikey_2 and multikey_3 may have either; RULER's own single_1 has noise and the others essays.
  std::string haystack = {};
  Tokenizer tokenizer = Tokenizer::bytes();
  LengthFit fit = LengthFit::at_most;
  /// Tokens that the model may say, and at least as many as the completion has. RULER: 128. They fit into `length` too.
  int64_t max_new_tokens = 0;
  std::function<bool()> stop = {};  ///< polled while a haystack grows: true ends it, and the example is not to be used
};
/// Tokens of an example at most: a text of as many bytes is in memory several times while it is made.
inline constexpr int64_t kLongestNeedles = int64_t{1} << 30;

struct NeedleExample {
  std::string prompt;  ///< instruction, haystack, question and the beginning of the answer
  std::vector<std::string>
      answers;             ///< values asked for: of one key in the order of the text, of several in that asked
  std::string completion;  ///< what follows the prompt: " 1234567.", " 1, 2, 3, and 4."
  int64_t max_new_tokens = 0;
};

/// Example `index` >= 0: a function of the options and the index alone, so that examples can be made in any order and
/// by any number of threads. Keys, and the values of what is asked for, occur once; in a haystack of more than
/// needle_keys() needles the keys nobody asks for come again. `exact` cuts the beginning of the haystack's first
/// sentence; bytes of a character that would be cut in two become spaces.
/// Throws Error(usage) where `length` is too small, saying what this example needs at least; where `exact` is asked for
/// with other tokens than bytes or with max_new_tokens; for more than kLongestNeedles tokens, for a haystack of white
/// space alone, and for negative numbers.
NeedleExample needle_example(const NeedleOptions& options, int64_t index);

}  // namespace ratel::tasks
