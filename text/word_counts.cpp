#include "text/word_counts.h"

#include <map>

#include "core/error.h"
#include "io/report.h"

namespace ratel {
namespace {

std::string trainable(std::string_view word) {
  std::string text;
  for (size_t at = 0; at < word.size();) {
    const std::string_view rest = word.substr(at);
    const size_t length = io::utf8_length(word, at);
    const bool reserved =
        rest.starts_with('\t') || rest.starts_with("\xe2\x96\x81") || rest.starts_with("\xe2\x96\x85");
    if (length == 0 || reserved)
      text += '\0';
    else
      text += rest.substr(0, length);
    at += length == 0 ? 1 : length;
  }
  return text;
}

}  // namespace

void WordCounts::add(std::string_view text) {
  bytes_ += static_cast<int64_t>(text.size());
  for (const char c : text) {
    const bool begins_character = (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
    if (c == '\n' || (c == ' ' && has_letters_)) {
      end_word();  // the space is the one before the next
      continue;
    }
    if (word_.size() >= kMostWordBytes && begins_character) end_word();
    has_letters_ = has_letters_ || c != ' ';
    word_ += c;
  }
}

void WordCounts::end_word() {
  if (!word_.empty() && ++counts_[word_] == 1) {
    held_bytes_ += word_.size() + kBytesAWord;
    if (held_bytes_ > most_bytes_)
      throw Error(concat_text("training a tokenizer: too many different words; expected at most ", most_bytes_,
                              " bytes of them, found more after ", bytes_, " bytes of text; a part of it may do"),
                  ErrorKind::input);
  }
  word_.clear();
  has_letters_ = false;
}

std::vector<std::pair<std::string, int64_t>> WordCounts::sorted() const {
  std::map<std::string, int64_t> words;  // several may be the same once they are trainable
  for (const auto& [word, count] : counts_) words[trainable(word)] += count;
  return {words.begin(), words.end()};
}

}  // namespace ratel
