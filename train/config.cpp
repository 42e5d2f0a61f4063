#include "train/config.h"

#include <algorithm>
#include <utility>

#include "core/text.h"
#include "io/report.h"
#include "models/tokenizer_file.h"
#include "train/config_fields.h"

namespace ratel::train {
namespace {

using io::Json;

const Field* find_field(const std::vector<Field>& fields, std::string_view key) {
  const auto found = std::find_if(fields.begin(), fields.end(), [key](const Field& field) { return field.key == key; });
  return found == fields.end() ? nullptr : &*found;
}

std::string unknown_key(const std::vector<Field>& fields, std::string_view key) {
  std::vector<std::string_view> keys;
  for (const Field& field : fields) keys.push_back(field.key);
  return "unknown key " + io::in_quotes(key) + suggestion(key, keys);
}

Problem assign_preset(TrainConfig& config, const Json& json) {
  if (!json.is_string()) return "expected a string, found " + json.described();
  try {
    const RatPlusConfig sizes = rat_plus_preset(json.as_string());
    config.model.vocab_size = sizes.vocab_size;
    config.model.layers = sizes.layers;
    config.model.channels = sizes.channels;
    config.model.heads = sizes.heads;
  } catch (const Error& error) {
    return error.what();
  }
  config.preset = json.as_string();
  return {};
}

struct Assignment {
  std::string key;
  Json value;
  std::string where;  // for errors
};

constexpr std::string_view kSizes[] = {"model.vocab_size", "model.layers", "model.channels", "model.heads"};

std::string preset_origin(std::string_view preset, std::string_view where) {
  return concat_text("preset ", preset, ", ", where);
}

/// The preset first, then all others in order.
void assign_all(TrainConfig& config, const std::vector<Assignment>& assignments, ErrorKind kind, Origins* origins) {
  const auto fail_with = [kind](const Assignment& a, const std::string& problem) {
    throw Error(concat_text(a.where, ": ", problem), kind);
  };
  for (const Assignment& a : assignments)
    if (a.key == "model.preset") {
      if (const Problem problem = assign_preset(config, a.value)) fail_with(a, a.key + ": " + *problem);
      if (origins != nullptr)
        for (const std::string_view key : kSizes) (*origins)[std::string(key)] = preset_origin(config.preset, a.where);
    }
  const std::vector<Field> fields = fields_of(config);
  for (const Assignment& a : assignments) {
    const Field* field = find_field(fields, a.key);
    if (field == nullptr) fail_with(a, unknown_key(fields, a.key));
    if (origins != nullptr) (*origins)[a.key] = a.where;
    if (a.key == "model.preset") continue;
    if (const Problem problem = assign(*field, a.value)) fail_with(a, a.key + ": " + *problem);
  }
}

/// The key of "--section.key=value" or "section.key=value".
std::string_view key_of(std::string_view text) {
  if (text.starts_with("--")) text.remove_prefix(2);
  return text.substr(0, text.find('='));
}

/// A number where the text is one, else the text itself.
Json parse_number(std::string_view text) {
  if (const auto integer = to_number<int64_t>(text)) return *integer;
  if (const auto number = to_number<double>(text)) return *number;
  return text;
}

/// The text of an override as what its field takes; what does not read as that stays a string, for the error.
Json parse_override(const Field& field, std::string_view text) {
  const auto& member = field.member;
  if (std::holds_alternative<int64_t*>(member) || std::holds_alternative<double*>(member)) return parse_number(text);
  if (std::holds_alternative<bool*>(member) && (text == "true" || text == "false")) return text == "true";
  if (!std::holds_alternative<LayerValues*>(member)) return text;
  if (text.starts_with('[')) {  // as in a file: by layer and head
    try {
      return io::parse_json(text, field.key);
    } catch (const Error&) {
      return text;
    }
  }
  Json list = Json::array();
  for (const std::string_view part : split(text, ',')) {
    const auto integer = to_number<int64_t>(part);
    if (!integer) return text;
    list.push_back(*integer);
  }
  return list;
}

}  // namespace

ModelPattern TrainConfig::pattern() const {
  // One pattern a head, each by layer.
  const auto of_head = [this](const char* name, const LayerValues& values, size_t head) {
    std::vector<int64_t> result;
    for (const auto& heads : values.layers) {
      check(heads.size() == 1 || static_cast<int64_t>(heads.size()) == model.heads, name,
            ": expected one value, or one for each of ", model.heads, " heads; found ", heads.size(), " values");
      result.push_back(heads[heads.size() == 1 ? 0 : head]);
    }
    return result;
  };
  ModelPattern pattern{{}};
  for (size_t head = 0; head < static_cast<size_t>(model.heads); ++head) {
    const ModelPattern one =
        parse_model_pattern(of_head("dilation", train.dilation, head), of_head("window", train.window, head),
                            of_head("initial", train.initial, head), model.layers);
    pattern.layers.resize(one.layers.size());
    for (size_t layer = 0; layer < one.layers.size(); ++layer) pattern.layers[layer].push_back(one.layers[layer][0]);
  }
  return simplified(std::move(pattern));
}

void TrainConfig::set_pattern(const ModelPattern& pattern) {
  const auto values = [&](int64_t Pattern::*member) {
    LayerValues result{};
    for (const HeadPatterns& heads : pattern.layers) {
      std::vector<int64_t>& list = result.layers.emplace_back();
      for (const Pattern& p : heads) list.push_back(p.*member);
      if (std::ranges::all_of(list, [&](int64_t value) { return value == list[0]; })) list.resize(1);
    }
    if (std::ranges::all_of(result.layers, [&](const auto& list) { return list == result.layers[0]; }))
      result.layers.resize(1);
    return result;
  };
  for (const HeadPatterns& heads : pattern.layers)
    check(!selects_blocks(heads), "train: top-k blocks have no gradient; expected a dilated pattern, found ", pattern);
  train.dilation = values(&Pattern::dilation);
  train.window = values(&Pattern::window);
  train.initial = values(&Pattern::initial);
}

Device TrainConfig::device() const {
  const std::optional<Device> named = device_named(train.device);
  check(named.has_value(), "train.device: expected cpu, cuda or cuda:N, found ", io::in_quotes(train.device));
  return *named;
}

std::optional<Tokenizer> TrainConfig::open_tokenizer() const { return tokenizer_named(data.tokenizer); }

ModelDescription TrainConfig::description(const std::optional<Tokenizer>& tokenizer) const {
  ModelDescription result{model, tokenizer, {}};
  if (train.joint == Joint::off) result.adapted = pattern();
  return result;
}

void TrainConfig::validate() const {
  TrainConfig copy = *this;
  for (const Field& field : fields_of(copy))
    if (const Problem problem = assign(field, value_of(field))) fail(field.key, ": ", *problem);
  (void)device();
  description(data.tokenizer == "bytes" ? std::optional(Tokenizer::bytes()) : std::nullopt).validate();
  pattern().check_fits(model);
  check(data.batch_size % data.accumulate == 0, "data.accumulate: expected a divisor of data.batch_size ",
        data.batch_size, ", found ", data.accumulate);
  check(data.eos < model.vocab_size, "data.eos: expected a token below model.vocab_size ", model.vocab_size,
        " or -1, found ", data.eos);
}

void apply_toml(TrainConfig& config, const std::vector<io::TomlEntry>& entries, std::string_view path,
                Origins* origins) {
  std::vector<Assignment> assignments;
  for (const auto& entry : entries) assignments.push_back({entry.key, entry.value, concat_text(path, ":", entry.line)});
  assign_all(config, assignments, ErrorKind::input, origins);
}

void apply_overrides(TrainConfig& config, const std::vector<std::string>& overrides, Origins* origins) {
  const std::vector<Field> fields = fields_of(config);
  std::vector<Assignment> assignments;
  for (const std::string& text : overrides) {
    const size_t equals = text.find('=');
    check(equals != std::string::npos, "expected --section.key=value, found ", io::in_quotes(text));
    const std::string_view key = key_of(text), value = std::string_view(text).substr(equals + 1);
    const Field* field = find_field(fields, key);
    assignments.push_back(
        {std::string(key), field != nullptr ? parse_override(*field, value) : Json(value), io::one_line(text)});
  }
  assign_all(config, assignments, ErrorKind::usage, origins);
}

namespace {

/// True where a file or an override names the key; what a preset sets is not given.
bool is_given(const Origins& origins, std::string_view preset, std::string_view key) {
  const auto origin = origins.find(key), preset_at = origins.find("model.preset");
  return origin != origins.end() &&
         (preset_at == origins.end() || origin->second != preset_origin(preset, preset_at->second));
}

}  // namespace

void follow_tokens(TrainConfig& config, Origins& origins, const KnownTokens& known) {
  const auto set = [&](const char* key, auto& member, const auto& value, const std::string& from) {
    member = value;
    origins[key] = from;
  };
  const bool has_vocab = is_given(origins, config.preset, "model.vocab_size");
  bool has_eos = is_given(origins, config.preset, "data.eos");
  const auto& source = known.source;
  if (source && !has_vocab) set("model.vocab_size", config.model.vocab_size, source->vocab_size, source->path);
  if (source && (config.data.tokenizer == "none" || !origins.contains("data.tokenizer"))) {
    if (!origins.contains("data.tokenizer") || config.data.tokenizer != source->tokenizer)
      set("data.tokenizer", config.data.tokenizer, source->tokenizer, source->path);
    if (!has_eos && source->eos) {
      set("data.eos", config.data.eos, *source->eos, source->path);
      has_eos = true;
    }
  }
  if (is_given(origins, config.preset, "model.vocab_size") && has_eos) return;
  const std::optional<Tokenizer> tokenizer = config.open_tokenizer();
  const std::string from = tokenizer ? concat_text("tokenizer ", tokenizer->name()) : "the sidecar of the data";
  const auto& data = known.data;
  if (!has_eos) config.data.eos = tokenizer ? tokenizer->eos().value_or(-1) : data ? data->eos : -1;
  if (!tokenizer && !data) return;
  if (!has_eos) origins["data.eos"] = from;
  if (!is_given(origins, config.preset, "model.vocab_size"))
    set("model.vocab_size", config.model.vocab_size, tokenizer ? tokenizer->vocab_size() : data->vocab_size, from);
}

TrainConfig load_config(const std::string& path, const std::vector<std::string>& overrides, const KnownTokens& known,
                        Origins* origins) {
  TrainConfig config;
  Origins from;
  if (!path.empty()) {
    apply_toml_file(config, path, &from);
  }
  TrainConfig whole = config;
  Origins all = from;
  apply_overrides(whole, overrides, &all);
  if (!path.empty() && config.data.tokenizer == whole.data.tokenizer) {
    follow_tokens(config, from, known);
    try {
      config.validate();
    } catch (const Error& error) {  // what does not fit together in the file is the file's fault
      fail_input(path, error.what());
    }
  }
  follow_tokens(whole, all, known);
  whole.validate();
  if (origins != nullptr) *origins = std::move(all);
  return whole;
}

std::string to_toml(const TrainConfig& config, const Origins* origins) {
  TrainConfig copy = config;
  std::string text;
  std::string_view section;
  for (const Field& field : fields_of(copy)) {
    const size_t dot = field.key.find('.');
    if (section != field.key.substr(0, dot)) {
      text += text.empty() ? "" : "\n";
      section = field.key.substr(0, dot);
      text += concat_text('[', section, "]\n");
    }
    std::string line = concat_text(field.key.substr(dot + 1), " = ", value_of(field).dump());
    if (origins != nullptr) {
      constexpr size_t kComments = 32;
      const auto origin = origins->find(field.key);
      line.resize(std::max(line.size() + 1, kComments), ' ');
      line += concat_text("# ", origin == origins->end() ? "default" : io::one_line(origin->second));
    }
    text += line + '\n';
  }
  return text;
}

Json to_json(const TrainConfig& config) {
  TrainConfig copy = config;
  Json json = Json::object();
  for (const Field& field : fields_of(copy)) json.append(std::string(field.key), value_of(field));
  return json;
}

TrainConfig config_from_json(const Json& json, std::string_view where) {
  std::vector<Assignment> assignments;
  for (const auto& [key, value] : json.as_object(where)) assignments.push_back({key, value, std::string(where)});
  TrainConfig config;
  assign_all(config, assignments, ErrorKind::input, nullptr);
  return config;
}

std::vector<ConfigChange> changes_between(const TrainConfig& was, const TrainConfig& is) {
  TrainConfig before = was, after = is;
  const std::vector<Field> old_fields = fields_of(before), new_fields = fields_of(after);
  std::vector<ConfigChange> changes;
  for (size_t i = 0; i < old_fields.size(); ++i) {
    const Json old_value = value_of(old_fields[i]), new_value = value_of(new_fields[i]);
    if (old_fields[i].on_resume == OnResume::fixed && old_value != new_value)
      changes.push_back({std::string(old_fields[i].key), old_value.dump(), new_value.dump()});
  }
  return changes;
}

std::vector<ConfigField> config_fields() {
  TrainConfig config;
  std::vector<ConfigField> result;
  for (const Field& field : fields_of(config)) result.push_back({std::string(field.key), std::string(field.about)});
  return result;
}

}  // namespace ratel::train
