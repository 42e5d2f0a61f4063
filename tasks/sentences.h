#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ratel::tasks {

/// The sentences of a text one after the other, from its beginning again once it ends; white space between words is one
/// space. A sentence ends after ".", "!" or "?" and quotes that close, before white space; not after a short word with
/// a capital, as "Mr."; at a blank line; and where it is long, before the next word, or between two characters where
/// there is no word's end. So every sentence has at least 1 and at most kLongestSentence bytes.
class Sentences {
 public:
  static constexpr size_t kLongestSentence = 400;

  /// `text` must outlive this and have something beside white space: throws Error(usage). Begins with the first
  /// sentence that starts after byte `from`, or with the text where `from` is 0.
  explicit Sentences(std::string_view text, size_t from = 0);

  std::string next();

 private:
  [[nodiscard]] bool ends_sentence(std::string_view sentence) const;

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace ratel::tasks
