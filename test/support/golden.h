#pragma once

#include <string>
#include <string_view>

#include "io/json.h"
#include "io/safetensors.h"

namespace ratel::test {

/// test/golden/NAME.safetensors: tensors in f64 and i64 computed by an independent program, and how they were made.
class Golden {
 public:
  /// Throws Error(input) where there is no such file.
  explicit Golden(const std::string& name);

  /// A fresh contiguous tensor: changing it changes no other. Throws Error(input) where there is none of that name.
  [[nodiscard]] Tensor operator[](std::string_view name) const;
  [[nodiscard]] bool contains(std::string_view name) const { return file_.contains(name); }
  /// Names in the file's order, those that start with `prefix` alone, the prefix cut off.
  [[nodiscard]] std::vector<std::string> names(std::string_view prefix = {}) const;
  /// A value of the metadata ("layers", "patterns", ...). Throws Error(input) where there is none.
  [[nodiscard]] io::Json about(const std::string& key) const;

 private:
  io::SafetensorsFile file_;
};

}  // namespace ratel::test
