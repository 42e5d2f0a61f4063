#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "models/authors_checkpoint.h"

namespace ratel {
namespace {

using io::Json;
using std::string_view;

constexpr std::array<string_view, 5> kHeads{"num_head", "n_head", "num_heads", "nhead", "num_attention_heads"};
constexpr std::array<string_view, 4> kWidths{"d_head", "head_dim", "head_size", "k_channel"};

bool is_among(string_view key, std::span<const string_view> keys) { return std::ranges::find(keys, key) != keys.end(); }

/// One number for all layers, or a list of one each; nothing where it is neither.
std::optional<std::vector<int64_t>> by_layer(const Json* value, int64_t layers) {
  if (value == nullptr) return std::nullopt;
  if (value->is_int()) return std::vector<int64_t>{value->as_int()};
  if (!value->is_array() || std::cmp_not_equal(value->as_array().size(), layers)) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const Json& item : value->as_array()) {
    if (!item.is_int()) return std::nullopt;
    numbers.push_back(item.as_int());
  }
  return numbers;
}

class ConfigReader {
 public:
  explicit ConfigReader(const RatPlusConfig& sizes) : sizes_(sizes) {}

  AuthorsConfig read(const Json& others) {
    visit(others, {});
    result_.heads.assign(heads_.begin(), heads_.end());
    return std::move(result_);
  }

 private:
  void visit(const Json& value, string_view key) {
    if (value.is_array())
      for (const Json& item : value.as_array()) visit(item, {});
    if (!value.is_object()) return;
    if (key == "pe" || key == "rope") {
      const Json* base = value.find("base");
      if (base != nullptr && base->is_number() && std::isfinite(base->as_double()) && base->as_double() > 1)
        result_.rope_base = base->as_double();
    }
    if (const Json* joint = value.find("joint_train"); joint != nullptr && joint->is_bool() && !joint->as_bool())
      read_pattern(value);
    for (const auto& [name, item] : value.as_object()) {
      if (item.is_int()) read_heads(name, item.as_int());
      visit(item, name);
    }
  }

  void read_heads(string_view key, int64_t value) {
    int64_t heads = 0;
    if (is_among(key, kHeads)) heads = value;
    if (is_among(key, kWidths) && value > 0 && sizes_.channels % value == 0) heads = sizes_.channels / value;
    if (heads_divide(heads, sizes_.channels)) heads_.insert(heads);
  }

  void read_pattern(const Json& layer) {
    const auto dilation = by_layer(layer.find("dilation_size"), sizes_.layers);
    const auto window = by_layer(layer.find("local_size"), sizes_.layers);
    const auto initial = by_layer(layer.find("initial_size"), sizes_.layers);
    if (!dilation || !window || !initial) return;
    try {
      ModelPattern pattern = parse_model_pattern(*dilation, *window, *initial, sizes_.layers);
      const bool is_dense = std::ranges::all_of(*dilation, [](int64_t d) { return d == 1; });
      if (!is_dense) result_.adapted = std::move(pattern);
    } catch (const Error&) {  // numbers of something else that is called the same
    }
  }

  RatPlusConfig sizes_;
  std::set<int64_t> heads_;
  AuthorsConfig result_;
};

}  // namespace

AuthorsConfig read_authors_config(const Json& others, const RatPlusConfig& sizes) {
  return ConfigReader(sizes).read(others);
}

std::vector<int64_t> plausible_heads(int64_t channels) {
  std::vector<int64_t> usual, all;
  for (int64_t heads = 1; heads <= std::min<int64_t>(channels / 2, 1 << 16); ++heads) {
    if (!heads_divide(heads, channels)) continue;
    all.push_back(heads);
    if (const int64_t width = channels / heads; width >= 32 && width <= 256) usual.push_back(heads);
  }
  return usual.empty() ? all : usual;
}

}  // namespace ratel
