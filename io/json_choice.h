#pragma once

#include "core/enum_names.h"
#include "io/json.h"
#include "io/report.h"

namespace ratel::io {

/// The value whose name the string is. Throws Error(input) that quotes all names.
template <class E>
E as_choice(const JsonCursor& json, EnumNames<E> names) {
  if (const auto value = value_in(names, json.as_string())) return *value;
  fail_input(json.where(), "expected ", choices_of(names, " or "), ", found ", in_quotes(json.as_string()));
}

}  // namespace ratel::io
