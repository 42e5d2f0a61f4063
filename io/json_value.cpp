#include "io/json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "io/file.h"
#include "io/limits.h"
#include "io/report.h"

namespace ratel::io {
namespace {

void dump_string(std::string_view text, std::string& out) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t length = utf8_length(text, at);
    if (byte == '"' || byte == '\\') {
      out += {'\\', text[at]};
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += {kDigits[byte >> 4], kDigits[byte & 15u]};
    } else if (length == 0) {
      out += "\xef\xbf\xbd";
    } else {
      out += text.substr(at, length);
    }
    at += std::max<size_t>(length, 1);
  }
  out += '"';
}

void dump_double(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  std::array<char, 32> buffer{};
  const char* const end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  const std::string_view digits(buffer.data(), static_cast<size_t>(end - buffer.data()));
  out += digits;
  if (digits.find_first_of(".e") == std::string_view::npos) out += ".0";
}

class Dumper {
 public:
  Dumper(int indent, std::string& out) : indent_(static_cast<size_t>(std::max(indent, 0))), out_(out) {}

  void value(const Json& json, size_t level) {
    if (json.is_array()) {
      list('[', ']', json.as_array(), level, [&](const Json& element) { value(element, level + 1); });
    } else if (json.is_object()) {
      list('{', '}', json.as_object(), level, [&](const Json::Member& member) {
        dump_string(member.first, out_);
        out_ += indent_ == 0 ? ":" : ": ";
        value(member.second, level + 1);
      });
    } else if (json.is_string()) {
      dump_string(json.as_string(), out_);
    } else if (json.is_int()) {
      out_ += std::to_string(json.as_int());
    } else if (json.is_number()) {
      dump_double(json.as_double(), out_);
    } else if (json.is_bool()) {
      out_ += json.as_bool() ? "true" : "false";
    } else {
      out_ += "null";
    }
  }

 private:
  template <class List, class One>
  void list(char open, char close, const List& elements, size_t level, One&& one) {
    out_ += open;
    for (bool first = true; const auto& element : elements) {
      if (!first) out_ += ',';
      first = false;
      new_line(level + 1);
      one(element);
    }
    if (!elements.empty()) new_line(level);
    out_ += close;
  }
  void new_line(size_t level) {
    if (indent_ != 0) out_.append(1, '\n').append(level * indent_, ' ');
  }

  size_t indent_;
  std::string& out_;
};

}  // namespace

std::string Json::dump(int indent) const {
  std::string out;
  Dumper(indent, out).value(*this, 0);
  return out;
}

std::string Json::described() const {
  if (is_string()) return "the string " + in_quotes(as_string());
  if (is_array()) return "an array of " + std::to_string(as_array().size());
  if (is_object()) return "an object of " + std::to_string(as_object().size());
  return dump();
}

template <class T>
const T& Json::get(std::string_view where, std::string_view expected) const {
  if (!is<T>()) fail_input(where, "expected ", expected, ", found ", described());
  return std::get<T>(value_);
}

bool Json::as_bool(std::string_view where) const { return get<bool>(where, "true or false"); }
int64_t Json::as_int(std::string_view where) const { return get<int64_t>(where, "an integer"); }
double Json::as_double(std::string_view where) const {
  return is_int() ? static_cast<double>(as_int()) : get<double>(where, "a number");
}
const std::string& Json::as_string(std::string_view where) const { return get<std::string>(where, "a string"); }
const Json::Array& Json::as_array(std::string_view where) const { return get<Array>(where, "an array"); }
const Json::Object& Json::as_object(std::string_view where) const { return get<Object>(where, "an object"); }

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  const auto& members = as_object();
  const auto found = std::ranges::find(members, key, &Member::first);
  return found == members.end() ? nullptr : &found->second;
}

const Json& Json::at(std::string_view key, std::string_view where) const {
  const auto& members = as_object(where);
  if (const Json* value = find(key)) return *value;
  std::string names;
  for (const auto& [name, value] : members) names += (names.empty() ? "" : ", ") + one_line(name);
  fail_input(where, "expected a member ", in_quotes(key), ", found ", names.empty() ? "none" : one_line(names));
}

void Json::set(std::string_view key, Json value) {
  if (const Json* found = find(key))
    *const_cast<Json*>(found) = std::move(value);
  else
    append(std::string(key), std::move(value));
}

void Json::append(std::string key, Json value) {
  if (is_null()) value_ = Object();
  if (!is_object()) fail("json: a member ", in_quotes(key), " was added to ", described());
  std::get<Object>(value_).emplace_back(std::move(key), std::move(value));
}

void Json::push_back(Json value) {
  if (is_null()) value_ = Array();
  if (!is_array()) fail("json: an element was added to ", described());
  std::get<Array>(value_).push_back(std::move(value));
}

JsonCursor JsonCursor::step(const Json& value, std::string_view name) const {
  JsonCursor next(value, concat_text(where_, is_root_ ? ": " : ".", one_line(name)));
  next.is_root_ = false;
  return next;
}

JsonCursor JsonCursor::operator[](std::string_view key) const { return step(value_->at(key, where_), key); }

JsonCursor JsonCursor::operator[](size_t index) const {
  const auto& elements = value_->as_array(where_);
  if (index >= elements.size()) fail_input(where_, "expected more than ", index, " elements, found ", elements.size());
  return step(elements[index], std::to_string(index));
}

std::optional<JsonCursor> JsonCursor::find(std::string_view key) const {
  static_cast<void>(value_->as_object(where_));
  const Json* value = value_->find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return step(*value, key);
}

Json read_json_file(const std::string& path) { return parse_json(read_text_file(path, kJsonBytes), path); }

}  // namespace ratel::io
