#include "models/pattern_file.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "core/enum_names.h"
#include "core/text.h"
#include "io/file.h"
#include "io/limits.h"
#include "io/report.h"
#include "io/toml.h"
#include "models/description.h"

namespace ratel {
namespace {

using io::Json;

constexpr std::array<std::string_view, 7> kKeys{"dilation", "window", "initial", "top_blocks",
                                                "score",    "repeat", "layer"};
constexpr std::string_view kLayer = "layer";
constexpr int64_t kMostRepeats = 10'000;

bool is_json(std::string_view path) { return path.ends_with(".json"); }

/// What a file says of one layer, or of all. Either format is read into these before anybody asks what it means.
struct Member {
  std::string key;
  Json value;
  std::string where;  // of the value, for errors
};
struct Table {
  std::string where;
  std::vector<Member> members;

  [[nodiscard]] const Member* find(std::string_view key) const {
    const auto found = std::ranges::find(members, key, &Member::key);
    return found == members.end() ? nullptr : &*found;
  }
  void add(std::string key, Json value, const std::string& at, std::string where_value) {
    if (key == kLayer || key.starts_with("layer."))
      fail_input(at, "expected a table [[layer]] for each layer, found ", io::in_quotes(key));
    if (std::ranges::find(kKeys, key) == kKeys.end())
      fail_input(at, "unknown key ", io::in_quotes(key), suggestion(key, kKeys));
    members.push_back({std::move(key), std::move(value), std::move(where_value)});
  }
};
struct Document {
  Table all;
  std::vector<Table> layers;
};

Document from_toml(std::string_view text, const std::string& path) {
  Document document{{path, {}}, {}};
  for (io::TomlEntry& entry : io::parse_toml(text, path)) {
    const std::string at = concat_text(path, ":", entry.line);
    Table* table = &document.all;
    std::string key = std::move(entry.key);
    if (key.starts_with("layer[")) {  // layer[1] opens a layer, layer[1].window belongs to it
      const size_t end = key.find(']') + 1;
      if (end == key.size()) {
        document.layers.push_back({at, {}});
        continue;
      }
      table = &document.layers.back();
      key.erase(0, end + 1);
    }
    const std::string where = concat_text(at, ": ", key);
    table->add(std::move(key), std::move(entry.value), at, where);
  }
  return document;
}

Document from_json(const Json& json, const std::string& path) {
  Document document{{path, {}}, {}};
  for (const auto& [key, value] : json.as_object(path)) {
    const std::string where = concat_text(path, ": ", io::one_line(key));
    if (key != kLayer) {
      document.all.add(key, value, path, where);
      continue;
    }
    if (value.as_array(where).empty()) fail_input(where, "expected an object for each layer, found none");
    for (const Json& layer : value.as_array()) {
      Table table{concat_text(where, ".", document.layers.size()), {}};
      for (const auto& [name, setting] : layer.as_object(table.where))
        table.add(name, setting, table.where, concat_text(table.where, ".", io::one_line(name)));
      document.layers.push_back(std::move(table));
    }
  }
  return document;
}

/// A key's value for each head, and who said it.
template <class T>
struct Setting {
  std::vector<T> heads;
  const Member* member = nullptr;  // null: nobody
  bool own = false;                // said of the layer itself
};

class LayerReader {
 public:
  LayerReader(const Table& own, const Table& all, int64_t heads)
      : own_(own), all_(all), heads_(static_cast<size_t>(heads)) {}

  [[nodiscard]] HeadPatterns patterns() const {
    const auto dilation = integers("dilation", 1, "1 or more, or -1 for no dilated keys",
                                   [](int64_t value) { return value >= 1 || value == kNoDilatedKeys; });
    auto window = integers("window", 0, "0 or more", [](int64_t value) { return value >= 0; });
    auto initial = integers("initial", 0, "0 or more", [](int64_t value) { return value >= 0; });
    const auto blocks =
        integers("top_blocks", 0, "2 or more (the first block and the query's own are two of them), or 0",
                 [](int64_t value) { return value == 0 || value >= 2; });
    const auto score = scores();
    HeadPatterns result;
    for (size_t head = 0; head < heads_; ++head) {
      Pattern p{dilation.heads[head], window.heads[head], initial.heads[head]};
      if (blocks.heads[head] > 0) {
        if (p.dilation < 1)
          fail_input(dilation.member->where, "expected the size of a block, 1 or more, found ", p.dilation);
        p.window = without_blocks(window, blocks, head);
        p.initial = without_blocks(initial, blocks, head);
        p.top_blocks = blocks.heads[head];
        p.score = score.heads[head];
      }
      result.push_back(p);
    }
    if (score.own && std::ranges::all_of(blocks.heads, [](int64_t count) { return count == 0; }))
      fail_input(score.member->where, "is of top-k blocks, and there is no top_blocks");
    return result;
  }

 private:
  template <class T, class Read>
  Setting<T> setting(std::string_view key, T otherwise, Read&& read) const {
    Setting<T> result{{}, own_.find(key), true};
    if (result.member == nullptr) result = {{}, all_.find(key), false};
    if (result.member == nullptr) return {std::vector<T>(heads_, otherwise)};
    const auto& [name, value, where] = *result.member;
    if (!value.is_array()) return {std::vector<T>(heads_, read(value, where)), result.member, result.own};
    for (const Json& element : value.as_array()) result.heads.push_back(read(element, where));
    if (result.heads.size() != heads_)
      fail_input(where, "expected one value, or a list of one for each of ", heads_, " heads, found a list of ",
                 result.heads.size());
    return result;
  }

  template <class Valid>
  Setting<int64_t> integers(std::string_view key, int64_t otherwise, const char* expected, Valid&& valid) const {
    return setting(key, otherwise, [&](const Json& value, const std::string& where) {
      if (!value.is_int() || !valid(value.as_int()))
        fail_input(where, "expected ", expected, ", found ", value.described());
      if (value.as_int() > kLongestSequence)
        fail_input(where, "expected at most ", kLongestSequence, ", found ", value.as_int());
      return value.as_int();
    });
  }

  [[nodiscard]] Setting<BlockScore> scores() const {
    return setting("score", BlockScore::last, [](const Json& value, const std::string& where) {
      const auto score = value.is_string() ? value_in(names_of(BlockScore{}), value.as_string()) : std::nullopt;
      if (!score)
        fail_input(where, "expected ", choices_of(names_of(BlockScore{}), ", "), ", found ", value.described());
      return *score;
    });
  }

  /// The window or the initial tokens of a head of top-k blocks, which has none: what is said of all layers does not
  /// concern a layer that itself chose blocks, all else is a mistake.
  static int64_t without_blocks(const Setting<int64_t>& setting, const Setting<int64_t>& blocks, size_t head) {
    const int64_t value = setting.heads[head];
    if (value != 0 && (setting.own || !blocks.own))
      fail_input(setting.member->where, "expected 0, since head ", head, " has top-k blocks, found ", value);
    return 0;
  }

  const Table &own_, &all_;
  size_t heads_;
};

int64_t repeats_of(const Table& layer) {
  const Member* member = layer.find("repeat");
  if (member == nullptr) return 1;
  const bool valid = member->value.is_int() && member->value.as_int() >= 1 && member->value.as_int() <= kMostRepeats;
  if (!valid)
    fail_input(member->where, "expected a number of layers from 1 to ", kMostRepeats, ", found ",
               member->value.described());
  return member->value.as_int();
}

ModelPattern pattern_of(const Document& document, const RatPlusConfig& config) {
  const auto& [all, layers] = document;
  if (const Member* repeat = all.find("repeat")) fail_input(repeat->where, "belongs below [[layer]]");
  if (layers.empty()) {
    if (all.members.empty()) fail_input(all.where, "expected a pattern, found none; dilation = 1 is the dense one");
    return simplified({{LayerReader(all, all, config.heads).patterns()}});
  }
  ModelPattern result{{}};
  int64_t count = 0;
  for (const Table& layer : layers) {
    count += repeats_of(layer);
    const HeadPatterns patterns = LayerReader(layer, all, config.heads).patterns();
    result.layers.resize(static_cast<size_t>(std::min(count, config.layers)), patterns);
  }
  if (count != config.layers)
    fail_input(all.where, "expected [[layer]] for each of ", config.layers, " layers, found ", count);
  return simplified(std::move(result));
}

/// key = value, or key = [value, value] where heads differ; nothing where all are `otherwise`.
template <class F>
std::string line_of(const char* key, const HeadPatterns& heads, const Json& otherwise, F&& value) {
  const auto is_that = [&](const Json& that) {
    return std::ranges::all_of(heads, [&](const Pattern& p) { return Json(value(p)) == that; });
  };
  if (is_that(otherwise)) return {};
  if (is_that(value(heads[0]))) return concat_text(key, " = ", Json(value(heads[0])).dump(), '\n');
  std::string list;
  for (const Pattern& p : heads) list += (list.empty() ? "" : ", ") + Json(value(p)).dump();
  return concat_text(key, " = [", list, "]\n");
}

std::string toml_of(const HeadPatterns& heads) {
  return line_of("dilation", heads, {}, [](const Pattern& p) { return p.dilation; }) +
         line_of("window", heads, 0, [](const Pattern& p) { return p.window; }) +
         line_of("initial", heads, 0, [](const Pattern& p) { return p.initial; }) +
         line_of("top_blocks", heads, 0, [](const Pattern& p) { return p.top_blocks; }) +
         line_of("score", heads, "last", [](const Pattern& p) { return name_in(names_of(BlockScore{}), p.score); });
}

}  // namespace

ModelPattern parse_pattern(std::string_view text, const std::string& path, const RatPlusConfig& config) {
  if (!is_json(path)) return pattern_of(from_toml(text, path), config);
  const Json json = io::parse_json(text, path);
  if (!json.is_array()) return pattern_of(from_json(json, path), config);
  ModelPattern pattern = model_pattern_from_json(io::JsonCursor(json, path));
  try {
    pattern.check_fits(config);
  } catch (const Error& error) {
    fail_input(path, error.what());
  }
  return pattern;
}

ModelPattern read_pattern_file(const std::string& path, const RatPlusConfig& config) {
  return parse_pattern(io::read_text_file(path, io::kTomlBytes), path, config);
}

std::string to_toml(const ModelPattern& pattern, std::string_view comment) {
  std::string text;
  if (!comment.empty())
    for (const std::string_view line : split(comment, '\n')) text += concat_text(line.empty() ? "#" : "# ", line, '\n');
  const auto layers = simplified(pattern).layers;
  if (layers.size() == 1) return text + toml_of(layers[0]);
  for (auto layer = layers.begin(); layer != layers.end();) {
    const auto next = std::find_if(layer, layers.end(), [&](const HeadPatterns& heads) { return heads != *layer; });
    text += "\n[[layer]]\n" + toml_of(*layer);
    if (next - layer > 1) text += concat_text("repeat = ", next - layer, '\n');
    layer = next;
  }
  return text;
}

void write_pattern_file(const std::string& path, const ModelPattern& pattern, std::string_view comment) {
  io::write_file_atomically(path, is_json(path) ? to_json(pattern).dump(2) + "\n" : to_toml(pattern, comment));
}

}  // namespace ratel
