#include "models/names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace ratel {
namespace {

using std::string_view;
using NamePair = std::pair<string_view, string_view>;  // theirs, ours

constexpr NamePair kEmbedding{"embedding.wte.weight", "embedding.weight"}, kNorm{"backbone.ln.weight", "norm.weight"},
    kLayer{"backbone.layers.", "layers."};
constexpr string_view kHead = "head.lm_head.weight";
constexpr std::array<NamePair, 6> kInLayer{{{"seq_layer.input_norm.weight", "mixer.norm.weight"},
                                            {"seq_layer.in_proj.weight", "mixer.in_proj.weight"},
                                            {"seq_layer.out_proj.weight", "mixer.out_proj.weight"},
                                            {"hidden_layer.ln.weight", "feed_forward.norm.weight"},
                                            {"hidden_layer.fc1.weight", "feed_forward.fc1.weight"},
                                            {"hidden_layer.fc2.weight", "feed_forward.fc2.weight"}}};

/// A layer's number as it is written by everyone: digits without a leading zero.
bool is_number(string_view text) {
  return !text.empty() && (text == "0" || text.front() != '0') &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::optional<std::string> path_of_authors_name(string_view name) {
  for (bool dropped = true; dropped;) {
    dropped = false;
    for (const string_view prefix : {"_orig_mod.", "module."})
      if (name.starts_with(prefix)) {
        name.remove_prefix(prefix.size());
        dropped = true;
      }
  }
  if (name == kHead) name = kEmbedding.first;
  for (const NamePair& pair : {kEmbedding, kNorm})
    if (name == pair.first) return std::string(pair.second);
  if (!name.starts_with(kLayer.first)) return std::nullopt;
  name.remove_prefix(kLayer.first.size());
  const size_t dot = name.find('.');
  if (dot == string_view::npos || !is_number(name.substr(0, dot))) return std::nullopt;
  for (const NamePair& pair : kInLayer)
    if (name.substr(dot + 1) == pair.first)
      return std::string(kLayer.second).append(name.substr(0, dot + 1)).append(pair.second);
  return std::nullopt;
}

}  // namespace ratel
