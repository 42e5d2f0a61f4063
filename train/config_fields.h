#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "train/config.h"

namespace ratel::train {

// The one table of fields: reading, overriding, printing and comparing configs all walk over it.

/// Whether a resumed run may have another value.
enum class OnResume { fixed, free };

struct Field {
  std::string_view key;
  std::variant<int64_t*, double*, bool*, std::string*, LayerValues*, Joint*, Recurrence*, DType*> member;
  OnResume on_resume;
  double least, most;  // of numbers
  std::string_view about;
};

/// The fields of `config`, which must outlive them.
std::vector<Field> fields_of(TrainConfig& config);

/// What is wrong with a value: "expected ..., found ...".
using Problem = std::optional<std::string>;

io::Json value_of(const Field& field);
/// Checks type and range; nothing is changed where there is a problem.
Problem assign(const Field& field, const io::Json& json);

}  // namespace ratel::train
