#pragma once

#include <string>
#include <vector>

#include "models/names.h"
#include "models/rat_plus.h"
#include "test/support/golden.h"

namespace ratel::test {

/// One of the models of test/golden/model_N.safetensors: what an independent program computed, and from what.
inline constexpr int kGoldenModels = 10;

/// One value or one a layer.
inline std::vector<int64_t> values_of(const io::Json& json) {
  if (json.is_int()) return {json.as_int()};
  std::vector<int64_t> values;
  for (const auto& value : json.as_array()) values.push_back(value.as_int());
  return values;
}

struct GoldenModel {
  explicit GoldenModel(int number) : name("model_" + std::to_string(number)), golden(name) {
    config.vocab_size = golden["embedding.wte.weight"].dim(0);
    config.channels = golden["embedding.wte.weight"].dim(1);
    config.layers = golden.about("layers").as_int();
    config.heads = golden.about("heads").as_int();
    config.recurrence = golden.about("recurrence").as_bool() ? Recurrence::gated : Recurrence::none;
    pattern = parse_model_pattern(values_of(golden.about("dilation")), values_of(golden.about("local")),
                                  values_of(golden.about("initial")), config.layers);
  }

  /// The tensors prefix + NAME under our paths.
  [[nodiscard]] std::vector<NamedTensor> tensors(const std::string& prefix) const {
    std::vector<NamedTensor> result;
    for (const std::string& authors_name : golden.names("grad."))
      result.push_back({path_of_authors_name(authors_name).value(), golden[prefix + authors_name]});
    return result;
  }

  std::string name;
  Golden golden;
  RatPlusConfig config;
  ModelPattern pattern;
};

}  // namespace ratel::test
