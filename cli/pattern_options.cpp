#include "cli/pattern_options.h"

#include "cli/output.h"
#include "models/pattern_file.h"

namespace ratel::cli {

void PatternOptions::add_to(Options& options) {
  options.integers("--dilation", "D[,D...]", dilation,
                   "Every D-th key is seen: 1 dense, -1 none. One value, or one a layer\n"
                   "[the model's own pattern; 1 where --window or --initial is given]");
  options.integers("--window", "W[,W...]", window, "The W keys before a query are seen too [0]");
  options.integers("--initial", "S[,S...]", initial, "The first S keys are seen too [0]");
  options.text("--pattern", "FILE", file, "In place of these: a pattern file (TOML or JSON), by layer and head");
}

ModelPattern PatternOptions::pattern(const RatPlusConfig& config) const {
  if (!file.empty()) {
    check(dilation.empty() && window.empty() && initial.empty(),
          "--pattern: expected no --dilation, --window or --initial beside it");
    return read_pattern_file(file, config);
  }
  const auto or_default = [](const std::vector<int64_t>& list, int64_t value) {
    return list.empty() ? std::vector<int64_t>{value} : list;
  };
  return parse_model_pattern(or_default(dilation, 1), or_default(window, 0), or_default(initial, 0), config.layers);
}

ModelPattern choose_pattern(const PatternOptions& asked, const std::optional<ModelPattern>& adapted,
                            const RatPlusConfig& config) {
  if (!asked.any()) return adapted.value_or(ModelPattern{});
  ModelPattern chosen = asked.pattern(config);
  if (adapted && simplified(chosen) != simplified(*adapted))
    note("ratel: using ", chosen, "; the model was adapted to ", *adapted);
  return chosen;
}

std::string text_of(const ModelPattern& pattern) { return concat_text(pattern); }

}  // namespace ratel::cli
