#include "cli/utf8_stream.h"

#include "io/report.h"

namespace ratel::cli {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
constexpr size_t kLongest = 4;

/// True where more bytes could make a character of `text` from `at` to its end.
bool may_continue(const std::string& text, size_t at) {
  for (const char next : {'\x80', '\x90', '\xa0'}) {  // one of them is valid after every lead byte
    std::string longer = text.substr(at) + next;
    while (longer.size() < kLongest && io::utf8_length(longer, 0) == 0) longer += '\x80';
    if (io::utf8_length(longer, 0) > text.size() - at) return true;
  }
  return false;
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string whole;
  size_t at = 0;
  while (at < pending_.size()) {
    if (const size_t length = io::utf8_length(pending_, at); length > 0) {
      whole.append(pending_, at, length);
      at += length;
    } else if (pending_.size() - at < kLongest && may_continue(pending_, at)) {
      break;
    } else {
      whole += kReplacement;
      ++at;
    }
  }
  pending_.erase(0, at);
  return whole;
}

std::string Utf8Stream::finish() {
  const bool cut = !pending_.empty();
  pending_.clear();
  return cut ? std::string(kReplacement) : "";
}

}  // namespace ratel::cli
