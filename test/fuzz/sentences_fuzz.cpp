// Whatever the bytes: sentences of a length within bounds, which hold the text without its white space, and then again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"
#include "tasks/sentences.h"

namespace {

std::string without_spaces(std::string_view text) {
  std::string rest;
  for (const char c : text)
    if (std::string_view(" \t\r\n\f\v").find(c) == std::string_view::npos) rest += c;
  return rest;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using ratel::tasks::Sentences;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    Sentences sentences(text);
    const std::string once = without_spaces(text);
    for (int times = 0; times < 2; ++times) {
      std::string said;
      while (said.size() < once.size()) {
        const std::string sentence = sentences.next();
        if (sentence.empty() || sentence.size() > Sentences::kLongestSentence) std::abort();
        said += without_spaces(sentence);
      }
      if (said != once) std::abort();
    }
    Sentences(text, data[0] % size).next();
  } catch (const ratel::Error&) {
  }
  return 0;
}
