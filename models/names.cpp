#include "models/names.h"

#include <algorithm>
#include <array>
#include <utility>

namespace ratel {
namespace {

using std::string_view;
using NamePair = std::pair<string_view, string_view>;  // theirs, ours

constexpr NamePair kEmbedding{kAuthorsEmbedding, "embedding.weight"}, kNorm{"backbone.ln.weight", "norm.weight"},
    kLayer{"backbone.layers.", "layers."};
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

/// The name of a tensor inside a layer, translated, "PREFIX0.IN" to "PREFIX1.OUT" along the pairs' side `From`.
template <size_t From>
std::optional<std::string> translated(string_view name) {
  constexpr size_t kTo = 1 - From;
  for (const NamePair& pair : {kEmbedding, kNorm})
    if (name == std::get<From>(pair)) return std::string(std::get<kTo>(pair));
  if (!name.starts_with(std::get<From>(kLayer))) return std::nullopt;
  name.remove_prefix(std::get<From>(kLayer).size());
  const size_t dot = name.find('.');
  if (dot == string_view::npos || !is_number(name.substr(0, dot))) return std::nullopt;
  for (const NamePair& pair : kInLayer)
    if (name.substr(dot + 1) == std::get<From>(pair))
      return std::string(std::get<kTo>(kLayer)).append(name.substr(0, dot + 1)).append(std::get<kTo>(pair));
  return std::nullopt;
}

}  // namespace

std::string without_wrappers(string_view name) {
  std::string plain;
  for (size_t at = 0; at <= name.size();) {
    const size_t dot = std::min(name.find('.', at), name.size());
    const string_view part = name.substr(at, dot - at);
    at = dot + 1;
    // The last part is what is wrapped, whatever it is called.
    if (dot < name.size() && (part == "_orig_mod" || part == "module")) continue;
    plain.append(part);
    if (dot < name.size()) plain += '.';
  }
  return plain;
}

std::optional<std::string> path_of_authors_name(string_view name) {
  const std::string plain = without_wrappers(name);
  return translated<0>(plain == kAuthorsHead ? kAuthorsEmbedding : string_view(plain));
}

std::optional<std::string> authors_name_of_path(string_view path) { return translated<1>(path); }

}  // namespace ratel
