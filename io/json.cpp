#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/text.h"
#include "io/json.h"
#include "io/limits.h"
#include "io/report.h"

namespace ratel::io {
namespace {

/// Walks over the text and tells an outside counter how far it has come: the SAX events carry no position.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, size_t* count) : at_(at), count_(count) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*count_;
    return *this;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) { return a.at_ == b.at_; }
  friend bool operator!=(const CountingIterator& a, const CountingIterator& b) { return a.at_ != b.at_; }

 private:
  const char* at_;
  size_t* count_;
};

/// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ..." without what we say ourselves.
std::string reason_of(std::string_view message) {
  if (const auto end = message.find("] "); message.starts_with('[') && end != std::string_view::npos)
    message.remove_prefix(end + 2);
  if (const auto end = message.find(": "); message.starts_with("parse error") && end != std::string_view::npos)
    message.remove_prefix(end + 2);
  return one_line(message, 200);
}

/// Builds values from the events, with a stack of its own: neither depth nor length of a text can exhaust ours.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(std::string_view path, size_t start, const MemberHandler* handle)
      : path_(path), start_(start), offset_(start), handle_(handle) {}
  size_t* offset() { return &offset_; }
  Json result() { return std::move(root_); }

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(int64_t value) override { return add(value); }
  bool number_unsigned(uint64_t value) override {
    return value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ? add(value)
                                                                               : add(static_cast<double>(value));
  }
  bool number_float(double value, const std::string& /*text*/) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(binary_t& /*value*/) override { fail_at(path_, offset_, "expected text, found binary"); }
  bool start_object(size_t /*count*/) override { return open(Json::object()); }
  bool start_array(size_t /*count*/) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    Frame& frame = frames_.back();
    if (!frame.keys.insert(name).second) fail_at(path_, offset_, "the key ", in_quotes(name), " appears twice");
    frame.key = std::move(name);
    frame.key_offset = offset_;
    return true;
  }
  bool parse_error(size_t position, const std::string& /*token*/, const nlohmann::detail::exception& error) override {
    // The position counts the byte that was refused.
    fail_at(path_, start_ + std::max<size_t>(position, 1) - 1, reason_of(error.what()));
  }

 private:
  struct Frame {
    Json value;
    std::string key;
    size_t key_offset = 0;
    std::set<std::string> keys;  // ordered: no choice of keys makes it slow
  };

  [[nodiscard]] bool streams() const { return handle_ != nullptr && frames_.size() == 1; }
  void count() {
    if (++values_ > kJsonValues)
      fail_at(path_, offset_, "too many values; expected at most ", kJsonValues, ", found more");
  }
  bool open(Json value) {
    if (frames_.size() == kJsonDepth)
      fail_at(path_, offset_, "nested too deeply; expected at most ", kJsonDepth, " levels, found more");
    if (handle_ != nullptr && frames_.empty() && !value.is_object())
      fail_at(path_, offset_, "expected an object, found an array");
    count();
    frames_.push_back({std::move(value), {}, 0, {}});
    return true;
  }
  bool close() {
    Json value = std::move(frames_.back().value);
    frames_.pop_back();
    return attach(std::move(value));
  }
  bool add(Json value) {
    if (handle_ != nullptr && frames_.empty()) fail_at(path_, offset_, "expected an object, found ", value.described());
    count();
    return attach(std::move(value));
  }
  bool attach(Json value) {
    if (frames_.empty()) {
      root_ = std::move(value);
    } else if (Frame& frame = frames_.back(); streams()) {
      values_ = 0;
      (*handle_)(std::move(frame.key), std::move(value), frame.key_offset);
    } else if (frame.value.is_array()) {
      frame.value.push_back(std::move(value));
    } else {
      frame.value.append(std::move(frame.key), std::move(value));
    }
    return true;
  }

  std::string_view path_;
  size_t start_, offset_;
  const MemberHandler* handle_;
  std::vector<Frame> frames_;
  Json root_;
  size_t values_ = 0;
};

Json parse(std::string_view text, std::string_view path, size_t start, const MemberHandler* handle) {
  // The parser takes a zero byte for the end of the text and skips a byte order mark; neither belongs to JSON.
  if (const auto zero = text.find('\0'); zero != std::string_view::npos)
    fail_at(path, start + zero, "expected JSON text, found a zero byte");
  if (text.starts_with(kByteOrderMark)) fail_at(path, start, "expected JSON text, found a byte order mark");
  Builder builder(path, start, handle);
  const char* begin = text.data();
  nlohmann::json::sax_parse(CountingIterator(begin, builder.offset()),
                            CountingIterator(begin + text.size(), builder.offset()), &builder);
  return builder.result();
}

}  // namespace

Json parse_json(std::string_view text, std::string_view path) { return parse(text, path, 0, nullptr); }

void parse_json_members(std::string_view text, std::string_view path, size_t start, const MemberHandler& handle) {
  parse(text, path, start, &handle);
}

}  // namespace ratel::io
