#include "cli/generation_view.h"

#include <utility>

#include "cli/output.h"
#include "io/report.h"

namespace ratel::cli {
namespace {

using io::Json;

constexpr size_t kHeadingBytes = 60;

Json as_json(const Continuation& text, GenerationView::Tokens tokens) {
  Json json = Json::object({{"tokens", Json::array_of(text.tokens)},
                            {"text", tokens == GenerationView::Tokens::as_text ? Json(text.text) : Json()}});
  if (!text.logprobs.empty()) json.set("logprobs", Json::array_of(text.logprobs));
  json.set("finish_reason", name_in(names_of(text.finish), text.finish));
  return json;
}

}  // namespace

GenerationView::GenerationView(std::vector<std::string> prompts, int64_t samples, Output output, Tokens tokens)
    : prompts_(std::move(prompts)),
      samples_(static_cast<size_t>(samples)),
      output_(output),
      tokens_(tokens),
      texts_(prompts_.size() * samples_),
      complete_(texts_.size()) {}

void GenerationView::add(const NewToken& token) {
  if (output_ == Output::json) return;
  const std::string said = tokens_ == Tokens::as_text ? std::string(token.text) : std::to_string(token.token) + " ";
  texts_[token.sequence] += said;
  complete_[token.sequence] = token.finish.has_value();
  if (alone())
    print(as_utf8(said));
  else
    print_complete();
}

std::string GenerationView::heading(size_t sequence) const {
  const size_t prompt = sequence / samples_;
  std::string text;
  if (prompts_.size() > 1) text += concat_text("prompt ", prompt + 1);
  if (samples_ > 1) text += concat_text(text.empty() ? "" : ", ", "sample ", sequence % samples_ + 1);
  return concat_text("--- ", text, ": ", io::in_quotes(prompts_[prompt], kHeadingBytes), '\n');
}

void GenerationView::print_complete() {
  for (; printed_ < texts_.size() && complete_[printed_]; ++printed_)
    print(concat_text(printed_ > 0 ? "\n" : "", heading(printed_), as_utf8(texts_[printed_]), '\n'));
}

void GenerationView::conclude(const Generation& generation) {
  const auto& [sequences, cache_bytes, dense_bytes] = generation;
  if (output_ == Output::json) {
    Json json;
    if (alone()) {
      json = as_json(sequences[0], tokens_);
    } else {
      Json list = Json::array();
      for (size_t i = 0; i < sequences.size(); ++i) {
        Json one = Json::object({{"prompt", i / samples_}, {"sample", i % samples_}});
        const Json text = as_json(sequences[i], tokens_);
        for (const auto& [key, value] : text.as_object()) one.set(key, value);
        list.push_back(std::move(one));
      }
      json.set("sequences", std::move(list));
    }
    if (dense_bytes > 0) json.set("kv_cache", Json::object({{"bytes", cache_bytes}, {"dense_bytes", dense_bytes}}));
    print_json(json);
  } else {
    // A text that was stopped may have had something held back for a stop string.
    for (size_t i = 0; i < sequences.size(); ++i) {
      const std::string rest = tokens_ == Tokens::as_text ? sequences[i].text.substr(texts_[i].size()) : std::string();
      texts_[i] += rest;
      complete_[i] = true;
      if (alone()) print(as_utf8(rest) + "\n");
    }
    if (!alone()) print_complete();
  }
  if (dense_bytes > 0)
    note("cache: ", with_commas(cache_bytes), " B, ",
         fixed(100 * static_cast<double>(cache_bytes) / static_cast<double>(dense_bytes), 1), "% of dense");
}

}  // namespace ratel::cli
