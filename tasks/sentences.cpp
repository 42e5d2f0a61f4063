#include "tasks/sentences.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/text.h"

namespace ratel::tasks {
namespace {

constexpr size_t kLong = 300;  // bytes after which any word may be the last

bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }
bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

std::string_view without_closing_quotes(std::string_view sentence) {
  constexpr std::array<std::string_view, 7> kClosing = {"\"", "'", ")", "]", "_", "\u2019", "\u201d"};
  for (;;) {
    const auto* const closing =
        std::ranges::find_if(kClosing, [&](std::string_view each) { return sentence.ends_with(each); });
    if (closing == kClosing.end()) return sentence;
    sentence.remove_suffix(closing->size());
  }
}

/// "Mr.", "Dr.", "J.": no end of a sentence.
bool ends_in_abbreviation(std::string_view sentence) {
  constexpr size_t kLetters = 3;
  const std::string_view before = sentence.substr(0, sentence.size() - 1);
  const std::string_view word = before.substr(before.find_last_of(' ') + 1);
  return sentence.ends_with('.') && !word.empty() && word.size() <= kLetters && is_capital(word.front());
}

}  // namespace

Sentences::Sentences(std::string_view text, size_t from) : text_(text), at_(from) {
  check(text.find_first_not_of(kSpaces) != std::string_view::npos, "haystack: expected text, found none");
  check(from < text.size(), "haystack: expected a place before ", text.size(), ", found ", from);
  if (from > 0) next();
}

bool Sentences::ends_sentence(std::string_view sentence) const {
  if (sentence.size() >= kLong || at_ == text_.size()) return true;
  const size_t word = text_.find_first_not_of(kSpaces, at_);
  const std::string_view space = text_.substr(at_, word == std::string_view::npos ? word : word - at_);
  if (std::ranges::count(space, '\n') > 1) return true;
  const std::string_view said = without_closing_quotes(sentence);
  return !said.empty() && std::string_view(".!?").find(said.back()) != std::string_view::npos &&
         !ends_in_abbreviation(said);
}

std::string Sentences::next() {
  std::string sentence;
  for (;;) {
    at_ = text_.find_first_not_of(kSpaces, at_);
    if (at_ == std::string_view::npos) {
      at_ = 0;
      if (!sentence.empty()) return sentence;
      continue;
    }
    if (!sentence.empty()) sentence += ' ';
    while (at_ < text_.size() && !is_space(text_[at_])) {
      // Four bytes before the limit, a character still fits.
      if (sentence.size() + 4 > kLongestSentence && !continues_character(text_[at_])) return sentence;
      if (sentence.size() == kLongestSentence) return sentence;  // bytes that are no UTF-8
      sentence += text_[at_++];
    }
    if (ends_sentence(sentence)) return sentence;
  }
}

}  // namespace ratel::tasks
