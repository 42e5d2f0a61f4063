#include "io/toml.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "io/file.h"
#include "io/limits.h"
#include "io/report.h"

namespace ratel::io {
namespace {

struct ParserConfused {};
[[noreturn]] void give_up() { throw ParserConfused(); }

}  // namespace
}  // namespace ratel::io

// Some texts, "[[=" for one, break what the library asserts of its own state; a release build would even let the
// compiler assume it. With NDEBUG undefined it asserts in every build, and throws.
#undef NDEBUG
#define TOML_ASSERT(condition) ((condition) ? void() : ::ratel::io::give_up())
#define TOML_MAX_NESTED_VALUES 16
#include <toml++/toml.h>

namespace ratel::io {
namespace {

static_assert(TOML_MAX_NESTED_VALUES == kTomlDepth);

// The library bounds how deeply values nest, but not the parts of a dotted key, each of which is a table inside the
// one before, freed by recursion. This walks over the text ahead of it: strings and comments are passed over, and dots
// counted between the characters that end a key. It is right up to the first syntax error, where the library stops.
class DotCounter {
 public:
  DotCounter(std::string_view text, std::string_view path) : text_(text), path_(path) {}

  void check() {
    size_t dots = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        pass_string(c);
        continue;
      }
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
        continue;
      }
      if (c == '.') ++dots;
      if (dots >= kTomlDepth)
        fail_at(path_, line_, "a key of too many parts; expected at most ", kTomlDepth, ", found more");
      if (std::string_view("=,[]{}\n").find(c) != std::string_view::npos) dots = 0;
      advance(1);
    }
  }

 private:
  void pass_string(char quote) {
    const std::string three(3, quote);
    const bool is_long = text_.substr(at_, 3) == three;
    const std::string_view end = std::string_view(three).substr(0, is_long ? 3 : 1);
    advance(end.size());
    while (at_ < text_.size() && text_.substr(at_, end.size()) != end) {
      if (!is_long && text_[at_] == '\n') return;
      advance(quote == '"' && text_[at_] == '\\' ? 2 : 1);
    }
    advance(end.size());
    // A long string may end in one or two quotes of its own.
    for (int extra = 0; is_long && extra < 2 && at_ < text_.size() && text_[at_] == quote; ++extra) advance(1);
  }
  void advance(size_t count) {
    for (; count > 0 && at_ < text_.size(); --count) line_ += text_[at_++] == '\n';
  }

  std::string_view text_, path_;
  size_t at_ = 0, line_ = 1;
};

class Flattener {
 public:
  explicit Flattener(std::string_view path) : path_(path) {}

  void table(const toml::table& table, const std::string& prefix) {
    for (const auto& [name, node] : table) {
      const size_t line = name.source().begin.line;
      check_key(name.str(), line);
      const std::string key = prefix.empty() ? std::string(name.str()) : concat_text(prefix, ".", name.str());
      if (const auto* inner = node.as_table())
        this->table(*inner, key);
      else
        found_.push_back({{key, value(node, key), line}, name.source().begin.column});
    }
  }

  std::vector<TomlEntry> sorted() && {
    std::ranges::sort(found_, {}, [](const Found& f) { return std::tuple(f.entry.line, f.column); });
    std::vector<TomlEntry> entries;
    entries.reserve(found_.size());
    for (Found& found : found_) entries.push_back(std::move(found.entry));
    return entries;
  }

 private:
  struct Found {
    TomlEntry entry;
    size_t column;
  };

  void check_key(std::string_view name, size_t line) const {
    const bool is_plain = !name.empty() && std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    });
    if (!is_plain) fail_at(path_, line, "expected a key of letters, digits, - and _, found ", quoted(name));
  }

  Json value(const toml::node& node, const std::string& key) const {
    if (const auto* array = node.as_array()) {
      Json::Array elements;
      for (const auto& element : *array) elements.push_back(value(element, key));
      return Json::array(std::move(elements));
    }
    if (const auto* text = node.as_string()) return Json(text->get());
    if (const auto* integer = node.as_integer()) return Json(integer->get());
    if (const auto* number = node.as_floating_point()) return Json(number->get());
    if (const auto* boolean = node.as_boolean()) return Json(boolean->get());
    fail_at(path_, node.source().begin.line, key, ": expected a number, a string, a bool or an array of these, found ",
            node.is_table() ? "a table" : "a date or time");
  }

  std::string_view path_;
  std::vector<Found> found_;
};

}  // namespace

std::vector<TomlEntry> parse_toml(std::string_view text, std::string_view path) {
  if (text.size() > kTomlBytes)
    fail_input(path, "too long; expected at most ", kTomlBytes, " bytes, found ", text.size());
  DotCounter(text, path).check();
  try {
    const toml::table root = toml::parse(text);
    Flattener flattener(path);
    flattener.table(root, "");
    return std::move(flattener).sorted();
  } catch (const toml::parse_error& error) {
    fail_at(path, error.source().begin.line, one_line(error.description(), 200));
  } catch (const ParserConfused&) {
    fail_input(path, "expected TOML, found text that the parser cannot place");
  }
}

std::vector<TomlEntry> read_toml_file(const std::string& path) {
  return parse_toml(read_text_file(path, kTomlBytes), path);
}

}  // namespace ratel::io
