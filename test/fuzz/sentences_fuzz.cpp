// Whatever the bytes: sentences of a length within bounds, which hold the text but for its white space.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"
#include "tasks/sentences.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ratel::tasks::Sentences;
  constexpr std::string_view kSpaces = " \t\r\n\f\v";
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    Sentences(text, size > 0 ? data[0] % size : 0).next();
    Sentences sentences(text);
    for (size_t at = text.find_first_not_of(kSpaces); at != std::string_view::npos;) {
      const std::string sentence = sentences.next();
      if (sentence.empty() || sentence.size() > Sentences::kLongestSentence) std::abort();
      for (size_t word = 0, end = 0; end < sentence.size(); word = end + 1) {
        end = sentence.find(' ', word);
        if (end == std::string::npos) end = sentence.size();
        if (text.compare(at, end - word, sentence, word, end - word) != 0) std::abort();
        at = text.find_first_not_of(kSpaces, at + end - word);
      }
    }
  } catch (const ratel::Error&) {
  }
  return 0;
}
