#include "models/generate.h"

#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/signals.h"
#include "cli/utf8_stream.h"
#include "models/byte_tokenizer.h"

namespace ratel::cli {
namespace {

struct Prompt {
  std::string text;
  std::vector<int64_t> tokens;
};

std::vector<int64_t> prompt_tokens(const Prompt& prompt, const ModelDescription& description) {
  const int64_t vocab_size = description.config.vocab_size;
  for (const int64_t id : prompt.tokens)
    check(id >= 0 && id < vocab_size, "--prompt-tokens: expected ids from 0 to ", vocab_size - 1, ", found ", id);
  if (!prompt.tokens.empty()) return prompt.tokens;
  check(description.tokenizer == Tokenizer::bytes,
        "--prompt: the model has no tokenizer of its own\nhint: give ids with --prompt-tokens");
  check(!prompt.text.empty(), "--prompt: expected at least one character");
  return ByteTokenizer::encode(prompt.text);
}

/// The bytes of ids; those beyond the byte tokenizer's have none.
std::string decoded(std::span<const int64_t> ids) {
  std::string text;
  for (const int64_t id : ids)
    if (id < ByteTokenizer::kVocabSize) text += ByteTokenizer::decode({&id, 1});
  return text;
}

}  // namespace

int run_generate(Arguments args) {
  ModelOptions from;
  PatternOptions asked;
  Prompt prompt;
  GenerationOptions how;
  int64_t seed = 0, eos = -1;
  bool json = false;
  Options options("generate", "Continues a prompt. The text is printed as it comes.");
  from.add_to(options);
  options.text("--prompt", "TEXT", prompt.text, "Text to continue");
  options.integers("--prompt-tokens", "ID[,ID...]", prompt.tokens, "Token ids to continue, in place of a text");
  options.integer("--max-new-tokens", "N", how.max_new_tokens, "Tokens to add at most");
  options.real("--temperature", "X", how.sampling.temperature, "0: always the most probable token");
  options.integer("--top-k", "K", how.sampling.top_k, "Draw among the K most probable tokens; 0: all");
  options.real("--top-p", "P", how.sampling.top_p, "Draw among the fewest tokens that share P; 1: all");
  options.integer("--seed", "N", seed, "Same seed, same text");
  options.integer("--eos", "ID", eos, "Stop after this token; -1: the tokenizer's end-of-text, -2: never");
  asked.add_to(options);
  options.flag("--json", json, "Print one JSON object: tokens (the new ids), text");
  options.example("ratel generate --model runs/tiny --prompt 'It is a truth' --max-new-tokens 200 --temperature 0.8");
  options.example(
      "ratel generate --model runs/tiny --prompt-tokens 73,116,32 --max-new-tokens 16 --dilation 16 --json");
  if (options.parse(args) == Options::Parsed::help) return 0;
  check(options.given("--prompt") != options.given("--prompt-tokens"), "expected one of --prompt and --prompt-tokens");
  check(how.max_new_tokens >= 0, "--max-new-tokens: expected 0 or more, found ", how.max_new_tokens);
  check(seed >= 0, "--seed: expected 0 or more, found ", seed);
  how.sampling.seed = static_cast<uint64_t>(seed);
  how.sampling.validate();

  const OpenedModel opened = from.open();
  const ModelDescription& description = opened.loaded.description;
  const bool has_text = description.tokenizer == Tokenizer::bytes;
  const std::vector<int64_t> start = prompt_tokens(prompt, description);
  const ModelPattern pattern = choose_pattern(asked, description.adapted, description.config.layers);
  if (eos >= 0)
    how.eos = eos;
  else if (eos == -1 && has_text)
    how.eos = ByteTokenizer::kEos;

  catch_signals();
  Utf8Stream stream;
  const std::vector<int64_t> tokens = generate(opened.loaded.model, start, pattern, how, [&](int64_t token) {
    if (!json) print(has_text ? stream.push(decoded({&token, 1})) : std::to_string(token) + " ");
    return stop_requested() ? Next::stop : Next::go_on;
  });
  if (json)
    print_json(io::Json::object(
        {{"tokens", io::Json::array_of(tokens)}, {"text", has_text ? io::Json(decoded(tokens)) : io::Json()}}));
  else
    print(stream.finish() + "\n");
  return stop_requested() ? signal_exit_code() : 0;
}

}  // namespace ratel::cli
