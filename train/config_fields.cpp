#include "train/config_fields.h"

#include <limits>
#include <type_traits>
#include <utility>

namespace ratel::train {
namespace {

using io::Json;

constexpr double kMost = 1e15;  // integers up to here are exact as doubles
constexpr double kTiny = std::numeric_limits<double>::min();

constexpr std::pair<Joint, std::string_view> kJoints[] = {
    {Joint::alternate, "alternate"}, {Joint::sum, "sum"}, {Joint::off, "off"}};
constexpr std::pair<DType, std::string_view> kDTypes[] = {
    {DType::f32, "f32"}, {DType::bf16, "bf16"}, {DType::f64, "f64"}};  // to train in

EnumNames<Joint> names_of(Joint) { return kJoints; }
EnumNames<DType> names_of(DType) { return kDTypes; }
using ratel::names_of;

Problem expected(const Json& found, std::string_view what) {
  return concat_text("expected ", what, ", found ", found.described());
}

template <class T>
Problem assign_number(const Field& field, const Json& json, T* value) {
  constexpr bool kInteger = std::is_same_v<T, int64_t>;
  if (kInteger ? !json.is_int() : !json.is_number()) return expected(json, kInteger ? "an integer" : "a number");
  const double number = json.as_double();
  if (!(number >= field.least && number <= field.most))
    return expected(json,
                    field.most < kMost || number > field.most
                        ? concat_text(kInteger ? "an integer" : "a number", " from ", field.least, " to ", field.most)
                        : concat_text(field.least, " or more"));
  if constexpr (kInteger)
    *value = json.as_int();
  else
    *value = number;
  return {};
}

/// What data.tokenizer may be. Whether the file is there is seen when it is read.
bool names_tokenizer(std::string_view name) { return name == "bytes" || name == "none" || name.ends_with(".model"); }

/// An integer as {it}, a list of integers as it is; nothing for all else.
std::optional<std::vector<int64_t>> integers_of(const Json& json) {
  if (json.is_int()) return {{json.as_int()}};
  if (!json.is_array() || json.as_array().empty()) return {};
  std::vector<int64_t> list;
  for (const Json& element : json.as_array()) {
    if (!element.is_int()) return {};
    list.push_back(element.as_int());
  }
  return list;
}

Problem assign_layers(const Json& json, LayerValues* value) {
  LayerValues layers{};
  for (const Json& layer : json.is_array() ? json.as_array() : Json::Array{json}) {
    auto heads = integers_of(layer);
    if (!heads) return expected(json, "an integer or a list of integers, or of lists of one a head");
    layers.layers.push_back(std::move(*heads));
  }
  if (layers.layers.empty()) return expected(json, "at least one integer");
  *value = std::move(layers);
  return {};
}

Json json_of(const LayerValues& values) {
  Json list = Json::array();
  for (const auto& heads : values.layers) list.push_back(heads.size() == 1 ? Json(heads[0]) : Json::array_of(heads));
  return values.layers.size() == 1 && values.layers[0].size() == 1 ? list.as_array()[0] : list;
}

}  // namespace

std::vector<Field> fields_of(TrainConfig& c) {
  using enum OnResume;
  return {
      {"model.preset", &c.preset, free, 0, 0, "tiny, small, 1b, 3b or 7b: the sizes that are not given"},
      {"model.vocab_size", &c.model.vocab_size, fixed, 1, kMost, "token ids there are; not given: the tokenizer's"},
      {"model.layers", &c.model.layers, fixed, 1, kMost, "blocks"},
      {"model.channels", &c.model.channels, fixed, 2, kMost, "width of a token's state"},
      {"model.heads", &c.model.heads, fixed, 1, kMost, "attention heads of a layer"},
      {"model.recurrence", &c.model.recurrence, fixed, 0, 0, "gated, or none for the attention-only baseline"},
      {"model.norm_eps", &c.model.norm_eps, fixed, kTiny, 1, "epsilon of the norms"},
      {"model.rope_base", &c.model.rope_base, fixed, 1, kMost, "base of the rotary embedding"},
      {"data.seq_len", &c.data.seq_len, fixed, 1, kMost, "tokens of a training window"},
      {"data.batch_size", &c.data.batch_size, fixed, 1, kMost, "windows of a batch"},
      {"data.accumulate", &c.data.accumulate, fixed, 1, kMost, "equal parts a batch is computed in, to save memory"},
      {"data.seed", &c.data.seed, fixed, 0, kMost, "of the order of the windows"},
      {"data.tokenizer", &c.data.tokenizer, free, 0, 0,
       "what made the tokens: bytes, a SentencePiece .model file, or none; goes into the checkpoints"},
      {"data.eos", &c.data.eos, fixed, -1, kMost, "the end-of-text id, -1: there is none; not given: the tokenizer's"},
      {"data.validation", &c.data.validation, free, 0, 0, "token file to validate with; empty: no validation"},
      {"optimizer.peak_rate", &c.optimizer.peak_rate, fixed, 0, 1e6, "learning rate after warm-up"},
      {"optimizer.final_rate", &c.optimizer.final_rate, fixed, 0, 1e6, "learning rate at the end of the cosine"},
      {"optimizer.warmup_fraction", &c.optimizer.warmup_fraction, fixed, 0, 1, "part of the steps that warms up"},
      {"optimizer.beta1", &c.optimizer.beta1, fixed, 0, 1 - 1e-15, "decay of the first moment"},
      {"optimizer.beta2", &c.optimizer.beta2, fixed, 0, 1 - 1e-15, "decay of the second moment"},
      {"optimizer.eps", &c.optimizer.eps, fixed, kTiny, 1, "epsilon of AdamW"},
      {"optimizer.weight_decay", &c.optimizer.weight_decay, fixed, 0, 1e6, "decoupled weight decay, on all parameters"},
      {"optimizer.clip", &c.optimizer.clip, fixed, 0, kMost, "largest gradient norm; 0: any"},
      {"train.steps", &c.train.steps, fixed, 1, kMost, "batches of the whole run"},
      {"train.joint", &c.train.joint, fixed, 0, 0,
       "alternate: a sparse and a dense step a batch; sum: one step on both losses; off: one pattern"},
      {"train.sparse_dilation", &c.train.sparse_dilation, fixed, 1, kMost, "dilation of joint training's sparse pass"},
      {"train.dilation", &c.train.dilation, fixed, 0, 0,
       "the run's own pattern: one value, or one a layer, [[1, 16], 64]: by head; -1: no dilated keys"},
      {"train.window", &c.train.window, fixed, 0, 0, "keys before a query that it sees"},
      {"train.initial", &c.train.initial, fixed, 0, 0, "first keys that every query sees"},
      {"train.checkpoint_every", &c.train.checkpoint_every, free, 1, kMost, "steps between checkpoints"},
      {"train.keep_checkpoints", &c.train.keep_checkpoints, free, 1, kMost, "checkpoints that stay"},
      {"train.validate_every", &c.train.validate_every, free, 1, kMost, "steps between validations"},
      {"train.validate_tokens", &c.train.validate_tokens, fixed, 0, kMost,
       "tokens of a validation, spread over its file; 0: all"},
      {"train.keep_best", &c.train.keep_best, free, 0, 0,
       "make a checkpoint of every lowest validation loss; the best one stays"},
      {"train.seed", &c.train.seed, fixed, 0, kMost, "of the weights"},
      {"train.device", &c.train.device, fixed, 0, 0, "cpu, cuda or cuda:N: where the model is"},
      {"train.dtype", &c.train.dtype, fixed, 0, 0,
       "what the model computes in: f32, f64, or bf16 with f32 master weights and moments"},
      {"train.threads", &c.train.threads, free, 0, 4096, "CPU threads; 0: all cores"},
      {"train.recompute", &c.train.recompute, free, 0, 0, "compute blocks again in backward: slower, less memory"},
      {"train.graph", &c.train.graph, free, 0, 0,
       "on a GPU, record a step once and run the recording from then on: less work for the host"},
      {"train.autotune", &c.train.autotune, free, 0, 0,
       "on a GPU, time algorithms of matrix products and take the quickest: a resumed run has other last bits"},
  };
}

Json value_of(const Field& field) {
  return std::visit(
      []<class T>(T* value) -> Json {
        if constexpr (std::is_same_v<T, LayerValues>)
          return json_of(*value);
        else if constexpr (std::is_enum_v<T>)
          return name_in(names_of(*value), *value);
        else
          return *value;
      },
      field.member);
}

Problem assign(const Field& field, const Json& json) {
  return std::visit(
      [&]<class T>(T* value) -> Problem {
        if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>)
          return assign_number(field, json, value);
        else if constexpr (std::is_same_v<T, LayerValues>)
          return assign_layers(json, value);
        else if constexpr (std::is_same_v<T, bool>) {
          if (!json.is_bool()) return expected(json, "true or false");
          *value = json.as_bool();
        } else {
          if (!json.is_string()) return expected(json, "a string");
          if constexpr (std::is_enum_v<T>) {
            const auto choice = value_in(names_of(*value), json.as_string());
            if (!choice) return expected(json, "one of " + choices_of(names_of(*value), ", "));
            *value = *choice;
          } else {
            if (field.key == "data.tokenizer" && !names_tokenizer(json.as_string()))
              return expected(json, "bytes, none, or the path of a .model file");
            *value = json.as_string();
          }
        }
        return {};
      },
      field.member);
}

}  // namespace ratel::train
