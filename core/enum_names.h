#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace ratel {

/// What the values of an enum are called in files and on command lines.
template <class E>
using EnumNames = std::span<const std::pair<E, std::string_view>>;

/// The name of a value; empty where the table has none.
template <class E>
std::string_view name_in(EnumNames<E> names, E value) {
  for (const auto& [each, name] : names)
    if (each == value) return name;
  return {};
}

/// The value of that name; nothing where there is none.
template <class E>
std::optional<E> value_in(EnumNames<E> names, std::string_view name) {
  for (const auto& [value, each] : names)
    if (each == name) return value;
  return {};
}

/// All names in quotes, for errors.
template <class E>
std::string choices_of(EnumNames<E> names, std::string_view separator) {
  std::string all;
  for (const auto& [value, name] : names) {
    if (!all.empty()) all += separator;
    all.append("\"").append(name).append("\"");
  }
  return all;
}

}  // namespace ratel
