#include <algorithm>
#include <array>
#include <string>
#include <unordered_set>
#include <utility>

#include "io/limits.h"
#include "io/pickle.h"
#include "io/report.h"

namespace ratel::io {
namespace {

using std::string_view;

/// Writes values out as JSON, until there are too many.
class JsonWriter {
 public:
  JsonWriter(const Pickle& pickle, size_t& left) : pickle_(pickle), left_(left) {}

  std::optional<Json> write(PickleRef ref) {
    Json result = value(ref);
    if (left_ == 0) return std::nullopt;
    return result;
  }

 private:
  // A JSON document of ours is read back to this depth.
  static constexpr size_t kDepth = kJsonDepth - 2;

  /// False where that is more than there is left.
  bool charge(size_t cost) {
    left_ -= std::min(left_, cost);
    return left_ > 0;
  }

  Json value(PickleRef ref) {
    const PickleNode& node = pickle_[ref];
    if (!charge(Pickle::cost_of(node.text))) return {};
    switch (node.kind) {
      case PickleKind::boolean: return node.integer != 0;
      case PickleKind::integer: return node.integer;
      case PickleKind::real: return node.real;
      case PickleKind::text: return node.text;
      default: break;
    }
    if (inside_.size() == kDepth || std::ranges::find(inside_, ref) != inside_.end()) return {};
    inside_.push_back(ref);
    Json result = container(ref, node);
    inside_.pop_back();
    return result;
  }

  Json container(PickleRef ref, const PickleNode& node) {
    if (node.kind == PickleKind::tuple || node.kind == PickleKind::list || node.kind == PickleKind::set)
      return elements(node.children);
    if (node.kind == PickleKind::dict) return mapping(ref, std::nullopt);
    if (node.kind != PickleKind::object) return {};
    const PickleRef state = node.children[Pickle::state];
    // Objects may share a state, which is searched for each of them.
    if (pickle_.is_mapping(state) && !charge(1 + pickle_.children_of(state).size())) return {};
    for (const string_view wrapped : {"_content", "_val"})
      if (const auto found = pickle_.find(state, wrapped)) return value(*found);
    if (!node.has_pairs && node.children.size() > Pickle::elements) return elements(pickle_.children_of(ref));
    if (!node.has_pairs && !pickle_.is_mapping(state)) return {};
    // A dict that keeps its pairs as members too, as EasyDict does, has each once.
    return mapping(ref, pickle_.is_mapping(state) ? std::optional(state) : std::nullopt);
  }

  Json elements(std::span<const PickleRef> refs) {
    Json::Array items;
    for (size_t i = 0; i < refs.size() && left_ > 0; ++i) items.push_back(value(refs[i]));
    return Json::array(std::move(items));
  }

  /// The first of a key's values counts: those of the pairs come before those of a state.
  Json mapping(PickleRef ref, std::optional<PickleRef> more) {
    std::unordered_set<std::string> names;
    Json result = Json::object();
    add_pairs(result, names, ref);
    if (more) add_pairs(result, names, *more);
    return result;
  }

  void add_pairs(Json& object, std::unordered_set<std::string>& names, PickleRef ref) {
    const auto pairs = pickle_.children_of(ref);
    for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
      const PickleNode& key = pickle_[pairs[i]];
      if (!charge(Pickle::cost_of(key.text))) return;  // one that is left out has been looked at too
      if (key.kind != PickleKind::text && key.kind != PickleKind::integer) continue;
      std::string name = key.kind == PickleKind::text ? std::string(key.text) : std::to_string(key.integer);
      if (names.insert(name).second) object.append(std::move(name), value(pairs[i + 1]));
    }
  }

  const Pickle& pickle_;
  size_t& left_;
  std::vector<PickleRef> inside_;
};

}  // namespace

string_view name_of(PickleKind kind) {
  constexpr std::array<string_view, 13> kNames{"None",  "bool", "integer", "long integer", "float",  "text",  "bytes",
                                               "tuple", "list", "set",     "dict",         "global", "object"};
  const auto place = static_cast<size_t>(kind);
  return place < kNames.size() ? kNames[place] : "persistent id";
}

string_view Pickle::module_of(PickleRef global) const {
  const auto place = static_cast<uint64_t>(nodes_[global].integer);
  return text_.substr(static_cast<size_t>(place >> 32), static_cast<size_t>(place & UINT32_MAX));
}

bool Pickle::is_global(PickleRef ref, string_view module, string_view name) const {
  return nodes_[ref].kind == PickleKind::global && nodes_[ref].text == name && module_of(ref) == module;
}

bool Pickle::is_call_of(PickleRef ref, string_view module, string_view name) const {
  return nodes_[ref].kind == PickleKind::object && is_global(nodes_[ref].children[callable], module, name);
}

std::span<const PickleRef> Pickle::children_of(PickleRef ref) const {
  const PickleNode& node = nodes_[ref];
  const std::span<const PickleRef> all = node.children;
  return node.kind == PickleKind::object ? all.subspan(elements) : all;
}

std::span<const PickleRef> Pickle::arguments_of(PickleRef object) const {
  return nodes_[nodes_[object].children[arguments]].children;
}

bool Pickle::is_mapping(PickleRef ref) const {
  const PickleNode& node = nodes_[ref];
  if (node.kind == PickleKind::object) return node.has_pairs || node.children.size() == elements;
  return node.kind == PickleKind::dict;
}

std::optional<PickleRef> Pickle::find(PickleRef mapping, string_view key) const {
  if (!is_mapping(mapping)) return std::nullopt;
  const auto pairs = children_of(mapping);
  for (size_t i = pairs.size(); i >= 2; i -= 2)
    if (const PickleNode& node = nodes_[pairs[i - 2]]; node.kind == PickleKind::text && node.text == key)
      return pairs[i - 1];
  return std::nullopt;
}

std::string Pickle::described(PickleRef ref) const {
  const PickleNode& node = nodes_[ref];
  const auto global = [&](PickleRef place) { return one_line(module_of(place)) + '.' + one_line(nodes_[place].text); };
  if (node.kind == PickleKind::global) return "the global " + global(ref);
  if (node.kind == PickleKind::object && nodes_[node.children[callable]].kind == PickleKind::global)
    return "what a call of " + global(node.children[callable]) + " gives";
  if (node.kind == PickleKind::integer) return "the integer " + std::to_string(node.integer);
  if (node.kind == PickleKind::text) return "the text " + in_quotes(node.text);
  return "a value of kind " + std::string(name_of(node.kind));
}

std::optional<Json> Pickle::to_json(PickleRef ref, size_t& left) const { return JsonWriter(*this, left).write(ref); }

}  // namespace ratel::io
