#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"

namespace ratel::io {

/// A JSON value. Integers (int64) and doubles are kept apart; objects keep the order their members came in.
///   Json::object({{"step", 3}, {"loss", 1.5}, {"shape", Json::array({2, 3})}})
/// The as_ and at accessors throw Error(input) "where: expected ..., found ..."; JsonCursor knows `where` by itself.
class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  Json() = default;  // null
  Json(std::nullptr_t) {}
  template <class T>
  requires std::same_as<T, bool> || std::floating_point<T> Json(T value)
      : value_(std::in_place_type<std::conditional_t<std::same_as<T, bool>, bool, double>>, value) {}
  /// Throws Error(usage) for an integer beyond int64.
  template <std::integral T>
  requires(!std::same_as<T, bool> && !std::same_as<T, char>) Json(T value) : value_(static_cast<int64_t>(value)) {
    check(std::in_range<int64_t>(value), "json: the integer ", value, " does not fit in 64 signed bits");
  }
  Json(std::string value) : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(const char* value) : value_(std::string(value)) {}

  static Json array(Array values = {}) { return Json(Value(std::move(values))); }
  /// Of any range of things that a Json can be made of.
  template <class Range>
  static Json array_of(const Range& values) {
    Array result;
    for (const auto& value : values) result.emplace_back(value);
    return array(std::move(result));
  }
  static Json object(Object members = {}) { return Json(Value(std::move(members))); }

  [[nodiscard]] bool is_null() const { return is<std::monostate>(); }
  [[nodiscard]] bool is_bool() const { return is<bool>(); }
  [[nodiscard]] bool is_int() const { return is<int64_t>(); }
  [[nodiscard]] bool is_number() const { return is<int64_t>() || is<double>(); }
  [[nodiscard]] bool is_string() const { return is<std::string>(); }
  [[nodiscard]] bool is_array() const { return is<Array>(); }
  [[nodiscard]] bool is_object() const { return is<Object>(); }
  /// For an error message: null, true, 3, 1.5, the string "x", an array of 2, an object of 3.
  [[nodiscard]] std::string described() const;

  [[nodiscard]] bool as_bool(std::string_view where = "json") const;
  [[nodiscard]] int64_t as_int(std::string_view where = "json") const;
  /// An integer is a number too.
  [[nodiscard]] double as_double(std::string_view where = "json") const;
  [[nodiscard]] const std::string& as_string(std::string_view where = "json") const;
  [[nodiscard]] const Array& as_array(std::string_view where = "json") const;
  [[nodiscard]] const Object& as_object(std::string_view where = "json") const;

  /// The member of an object, or nullptr where there is none. A value that is no object has none.
  [[nodiscard]] const Json* find(std::string_view key) const;
  [[nodiscard]] const Json& at(std::string_view key, std::string_view where = "json") const;

  /// Adds a member, or replaces the one of that name. Throws where this is neither an object nor null.
  void set(std::string_view key, Json value);
  /// Adds a member whose key is known to be new: no search.
  void append(std::string key, Json value);
  /// Adds an element. Throws where this is neither an array nor null.
  void push_back(Json value);

  /// The text, on one line, or with `indent` spaces a level. Doubles in the fewest digits that read back as the same
  /// double, always with a point or an exponent; NaN and infinities, which JSON lacks, as null. Invalid UTF-8 becomes
  /// U+FFFD.
  [[nodiscard]] std::string dump(int indent = 0) const;

  friend bool operator==(const Json&, const Json&) = default;

 private:
  using Value = std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object>;
  explicit Json(Value value) : value_(std::move(value)) {}
  template <class T>
  [[nodiscard]] bool is() const {
    return std::holds_alternative<T>(value_);
  }
  template <class T>
  [[nodiscard]] const T& get(std::string_view where, std::string_view expected) const;

  Value value_;
};

/// A value together with the path that leads to it, for reading documents: every error reads
/// "config.json: model.layers: expected an integer, found null". Refers to the document and must not outlive it.
class JsonCursor {
 public:
  JsonCursor(const Json& value, std::string_view path) : value_(&value), where_(path) {}

  /// Throws where there is no such member or element.
  [[nodiscard]] JsonCursor operator[](std::string_view key) const;
  [[nodiscard]] JsonCursor operator[](size_t index) const;
  /// Nothing where this is an object without the member, or where the member is null.
  [[nodiscard]] std::optional<JsonCursor> find(std::string_view key) const;
  [[nodiscard]] size_t size() const { return value_->as_array(where_).size(); }

  [[nodiscard]] bool as_bool() const { return value_->as_bool(where_); }
  [[nodiscard]] int64_t as_int() const { return value_->as_int(where_); }
  [[nodiscard]] double as_double() const { return value_->as_double(where_); }
  [[nodiscard]] const std::string& as_string() const { return value_->as_string(where_); }
  [[nodiscard]] const Json& value() const { return *value_; }
  [[nodiscard]] const std::string& where() const { return where_; }

 private:
  [[nodiscard]] JsonCursor step(const Json& value, std::string_view name) const;

  const Json* value_;
  std::string where_;
  bool is_root_ = true;
};

/// Reads one JSON document. Throws Error(input) "path:offset: what" for anything else: a syntax error, invalid UTF-8, a
/// key twice in one object, bytes after the document, more than io/limits.h allows. The offset is where reading
/// stopped, in bytes. Integers beyond int64 become doubles.
Json parse_json(std::string_view text, std::string_view path);

/// Reads a document that is one object, and hands over each member when it is complete, so that a document of millions
/// of members is never held as a whole. `start` is where the text begins in its file: all offsets count from there.
/// `offset` is that of the first byte after the key.
using MemberHandler = std::function<void(std::string key, Json value, size_t offset)>;
void parse_json_members(std::string_view text, std::string_view path, size_t start, const MemberHandler& handle);

/// Reads a file. Throws Error(input).
Json read_json_file(const std::string& path);

}  // namespace ratel::io
