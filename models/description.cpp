#include "models/description.h"

#include <algorithm>
#include <array>

#include "core/text.h"
#include "io/json_choice.h"
#include "io/report.h"

namespace ratel {
namespace {

constexpr std::array<std::string_view, 7> kConfigMembers{"vocab_size", "layers",   "channels", "heads",
                                                         "recurrence", "norm_eps", "rope_base"};
constexpr std::array<std::string_view, 5> kPatternMembers{"dilation", "window", "initial", "top_blocks", "score"};

/// Runs f; what it finds wrong with a value is wrong with the document.
template <class F>
void checked_at(const std::string& where, F&& f) {
  try {
    f();
  } catch (const Error& error) {
    fail_input(where, error.what());
  }
}

constexpr std::pair<Recurrence, std::string_view> kRecurrences[] = {{Recurrence::gated, "gated"},
                                                                    {Recurrence::none, "none"}};
constexpr std::pair<BlockScore, std::string_view> kBlockScores[] = {
    {BlockScore::last, "last"}, {BlockScore::mean, "mean"}, {BlockScore::minmax, "minmax"}};

Pattern pattern_from_json(const io::JsonCursor& json) {
  check_members(json, kPatternMembers);
  Pattern pattern{json["dilation"].as_int(), json["window"].as_int(), json["initial"].as_int()};
  if (const auto top_blocks = json.find("top_blocks")) pattern.top_blocks = top_blocks->as_int();
  if (const auto score = json.find("score")) {
    if (pattern.top_blocks == 0) fail_input(score->where(), "only top-k blocks have a score: expected top_blocks too");
    pattern.score = io::as_choice(*score, names_of(BlockScore{}));
  }
  checked_at(json.where(), [&] { check_patterns({pattern}, 1, "pattern"); });
  return pattern;
}

io::Json to_json(const Pattern& p) {
  io::Json json = io::Json::object({{"dilation", p.dilation}, {"window", p.window}, {"initial", p.initial}});
  if (p.top_blocks > 0) {
    json.set("top_blocks", p.top_blocks);
    json.set("score", name_in(names_of(p.score), p.score));
  }
  return json;
}

}  // namespace

EnumNames<Recurrence> names_of(Recurrence) { return kRecurrences; }
EnumNames<BlockScore> names_of(BlockScore) { return kBlockScores; }
Recurrence recurrence_from_json(const io::JsonCursor& json) { return io::as_choice(json, names_of(Recurrence{})); }

void ModelDescription::validate() const {
  config.validate();
  if (tokenizer)
    check(config.vocab_size >= tokenizer->vocab_size(), "model: the tokenizer ", tokenizer->name(), " needs ",
          tokenizer->vocab_size(), " words, found vocab_size ", config.vocab_size);
  if (adapted) adapted->check_fits(config);
}

void check_members(const io::JsonCursor& json, std::span<const std::string_view> known) {
  std::string unknown;
  for (const auto& [name, value] : json.value().as_object(json.where())) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string near = nearest(name, known);
    unknown += (unknown.empty() ? "" : ", ") + io::in_quotes(name) +
               (near.empty() ? "" : " (the nearest is " + io::in_quotes(near) + ')');
  }
  if (!unknown.empty()) fail_input(json.where(), "unknown: ", unknown);
}

io::Json to_json(const RatPlusConfig& config) {
  return io::Json::object({{"vocab_size", config.vocab_size},
                           {"layers", config.layers},
                           {"channels", config.channels},
                           {"heads", config.heads},
                           {"recurrence", name_in(names_of(config.recurrence), config.recurrence)},
                           {"norm_eps", config.norm_eps},
                           {"rope_base", config.rope_base}});
}

io::Json to_json(const ModelPattern& pattern) {
  io::Json layers = io::Json::array();
  for (const HeadPatterns& patterns : pattern.layers) {
    io::Json heads = io::Json::array();
    for (const Pattern& p : patterns) heads.push_back(to_json(p));
    layers.push_back(std::move(heads));
  }
  return layers;
}

RatPlusConfig rat_plus_config_from_json(const io::JsonCursor& json) {
  check_members(json, kConfigMembers);
  const RatPlusConfig config{json["vocab_size"].as_int(),
                             json["layers"].as_int(),
                             json["channels"].as_int(),
                             json["heads"].as_int(),
                             recurrence_from_json(json["recurrence"]),
                             json["norm_eps"].as_double(),
                             json["rope_base"].as_double()};
  checked_at(json.where(), [&] { config.validate(); });
  return config;
}

ModelPattern model_pattern_from_json(const io::JsonCursor& json) {
  ModelPattern result{{}};
  for (size_t layer = 0; layer < json.size(); ++layer) {
    HeadPatterns heads;
    for (size_t head = 0; head < json[layer].size(); ++head) heads.push_back(pattern_from_json(json[layer][head]));
    if (heads.empty()) fail_input(json[layer].where(), "expected the pattern of one head or more");
    result.layers.push_back(std::move(heads));
  }
  if (result.layers.empty()) fail_input(json.where(), "expected the patterns of one layer or more");
  return result;
}

}  // namespace ratel
