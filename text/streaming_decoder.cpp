#include "text/streaming_decoder.h"

#include <utility>

#include "io/report.h"

namespace ratel {
namespace {

constexpr size_t kLongest = 4;  // bytes of a character

/// Whether more bytes could make a character of what stands from `at` to the end.
bool may_continue(std::string_view text, size_t at) {
  for (const char next : {'\x80', '\x90', '\xa0'}) {  // one of them is valid after every lead byte
    std::string longer = std::string(text.substr(at)) + next;
    while (longer.size() < kLongest && io::utf8_length(longer, 0) == 0) longer += '\x80';
    if (io::utf8_length(longer, 0) > text.size() - at) return true;
  }
  return false;
}

/// Bytes at the end of a text that may be the beginning of a character.
size_t unfinished(std::string_view text) {
  for (size_t size = 1; size < kLongest && size <= text.size(); ++size) {
    const auto byte = static_cast<unsigned char>(text[text.size() - size]);
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return may_continue(text, text.size() - size) ? size : 0;
  }
  return 0;
}

}  // namespace

StreamingDecoder::StreamingDecoder(Tokenizer tokenizer, std::span<const int64_t> before)
    : tokenizer_(std::move(tokenizer)) {
  for (const int64_t id : before) push(id);
  pending_.clear();
}

std::string StreamingDecoder::push(int64_t id) {
  std::string_view text = tokenizer_.text_of(id);
  const bool loses_space = at_beginning_ && tokenizer_.loses_space(id);
  if (loses_space) text.remove_prefix(1);
  // Of spaces that normalising removes all at the beginning go; of others only the one that was put there.
  at_beginning_ = at_beginning_ && text.empty() && !(loses_space && !tokenizer_.removes_spaces());
  pending_ += text;
  std::string whole = pending_.substr(0, pending_.size() - unfinished(pending_));
  pending_.erase(0, whole.size());
  return whole;
}

std::string StreamingDecoder::finish() { return std::exchange(pending_, {}); }

}  // namespace ratel
