#include "models/generate.h"

#include <algorithm>

#include "cli/commands.h"
#include "cli/generation_view.h"
#include "cli/model_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/signals.h"
#include "core/free_memory.h"
#include "core/text.h"
#include "io/file.h"
#include "io/limits.h"
#include "io/report.h"

namespace ratel::cli {
namespace {

/// What is to be continued: texts on the command line, the lines of a file, or one list of ids.
struct Prompts {
  std::vector<std::string> texts;
  std::string file;
  std::vector<int64_t> ids;

  void add_to(Options& options) {
    options.texts("--prompt", "TEXT", texts, "Text to continue; several, when given again");
    options.text("--prompts-file", "FILE", file, "Texts to continue, one a line");
    options.integers("--prompt-tokens", "ID[,ID...]", ids, "Token ids to continue, in place of a text");
  }

  /// Exactly one of the three must be there. Throws Error.
  void read(const Options& options) {
    const int given = options.given("--prompt") + options.given("--prompts-file") + options.given("--prompt-tokens");
    check(given == 1, "expected one of --prompt, --prompts-file and --prompt-tokens");
    for (const std::string& text : texts) check(!text.empty(), "--prompt: expected at least one character");
    if (file.empty()) return;
    const std::string lines = io::read_text_file(file, io::kPromptBytes);
    std::string_view rest = without_byte_order_mark(lines);
    if (rest.ends_with('\n')) rest.remove_suffix(1);
    for (std::string_view line : split(rest, '\n')) {
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.empty()) io::fail_at(file, texts.size() + 1, "expected a prompt, found an empty line");
      texts.emplace_back(line);
    }
  }

  [[nodiscard]] std::vector<std::vector<int64_t>> tokens(const ModelDescription& description) const {
    const int64_t vocab_size = description.config.vocab_size;
    for (const int64_t id : ids)
      check(id >= 0 && id < vocab_size, "--prompt-tokens: expected ids from 0 to ", vocab_size - 1, ", found ", id);
    if (texts.empty()) return {ids};
    check(description.tokenizer.has_value(), file.empty() ? "--prompt" : "--prompts-file",
          ": the model has no tokenizer of its own\nhint: give ids with --prompt-tokens");
    std::vector<std::vector<int64_t>> all;
    for (const std::string& text : texts) {
      all.push_back(description.tokenizer->encode(text));
      check(!all.back().empty(), "the prompt ", io::in_quotes(text), " is nothing to the tokenizer ",
            description.tokenizer->name());
    }
    return all;
  }

  /// What people call them.
  [[nodiscard]] std::vector<std::string> names() const { return texts.empty() ? std::vector{concat_ids()} : texts; }

 private:
  [[nodiscard]] std::string concat_ids() const {
    std::string text;
    for (const int64_t id : ids) text += (text.empty() ? "" : ",") + std::to_string(id);
    return text;
  }
};

/// Throws Error(memory) where a CPU has less than the caches take at least: those of the prompts, which are filled with
/// zeros, and of their samples the prompts' tokens; room for more takes memory as it is filled.
void require_cache(const RatPlus& model, const ModelPattern& pattern, const std::vector<std::vector<int64_t>>& starts,
                   const GenerationOptions& how) {
  if (model.device().is_cuda() || how.max_new_tokens == 0) return;  // a GPU's pool says so itself
  const auto longest = static_cast<int64_t>(std::ranges::max_element(starts, {}, &std::vector<int64_t>::size)->size());
  const auto texts = static_cast<int64_t>(starts.size());
  const auto bytes_of = [&](int64_t count, int64_t tokens) {
    return bounded_product({count, kv_cache_bytes(model.config, pattern, tokens, model.dtype())});
  };
  const int64_t tokens = longest + how.max_new_tokens - 1;  // the last one is not read
  require_memory(bytes_of(texts, tokens) + (how.samples > 1 ? bytes_of(texts * how.samples, longest) : 0),
                 concat_text("generate: keys and values of ", texts, " x ", tokens, " tokens"),
                 "a sparser pattern, a lower --max-new-tokens or fewer texts need less");
}

}  // namespace

int run_generate(Arguments args) {
  ModelOptions from;
  PatternOptions asked;
  Prompts prompts;
  GenerationOptions how;
  int64_t seed = 0, eos = -1;
  bool json = false, logprobs = false, no_cache = false;
  Options options("generate",
                  "Continues prompts. A single text is printed as it comes; Ctrl-C ends it there (exit 130).");
  from.add_to(options);
  prompts.add_to(options);
  options.integer("--samples", "N", how.samples, "Texts for each prompt");
  options.integer("--max-new-tokens", "N", how.max_new_tokens, "Tokens to add at most; the cache has room for them");
  options.real("--temperature", "X", how.sampling.temperature, "0: always the most probable token");
  options.integer("--top-k", "K", how.sampling.top_k, "Draw among the K most probable tokens; 0: all");
  options.real("--top-p", "P", how.sampling.top_p, "Draw among the fewest tokens that share P; 1: all");
  options.real("--min-p", "P", how.sampling.min_p,
               "Draw among tokens at least P times as probable as the first; 0: all");
  options.real("--repetition-penalty", "X", how.sampling.repetition_penalty,
               "Divide the logits of tokens the text already holds (multiply negative ones); 1: do not");
  options.integer("--seed", "N", seed, "Same seed, same text");
  options.texts("--stop", "TEXT", how.stop_strings, "End before this text; several, when given again");
  options.integer("--eos", "ID", eos, "Stop after this token; -1: the tokenizer's end-of-text, -2: never");
  asked.add_to(options);
  options.flag("--no-cache", no_cache, "Run the whole text through the model for every token: slow, for comparison");
  options.flag("--logprobs", logprobs, "With --json: ln p of every new token, by the model, before any option");
  options.flag("--json", json,
               "Print one JSON object: tokens (the new ids), text, finish_reason, kv_cache;\n"
               "of several texts a list of these, sequences");
  options.example("ratel generate --model runs/tiny --prompt 'It is a truth' --max-new-tokens 200 --temperature 0.8");
  options.example(
      "ratel generate --model runs/tiny --prompt 'Emma' --prompt 'Anne' --samples 3 --temperature 1 --stop .");
  options.example(
      "ratel generate --model runs/tiny --prompt-tokens 73,116,32 --max-new-tokens 16 --dilation 16 --json");
  if (options.parse(args) == Options::Parsed::help) return 0;
  prompts.read(options);
  check(how.max_new_tokens >= 0 && how.max_new_tokens <= kMostNewTokens, "--max-new-tokens: expected 0 to ",
        kMostNewTokens, ", found ", how.max_new_tokens);
  constexpr int64_t kMostSamples = int64_t{1} << 16;
  check(how.samples >= 1 && how.samples <= kMostSamples, "--samples: expected 1 to ", kMostSamples, ", found ",
        how.samples);
  check(seed >= 0, "--seed: expected 0 or more, found ", seed);
  check(eos >= -2, "--eos: expected a token id, -1 or -2, found ", eos);
  check(json || !logprobs, "--logprobs: expected --json with it");
  for (const std::string& text : how.stop_strings) check(!text.empty(), "--stop: expected at least one character");
  how.sampling.seed = static_cast<uint64_t>(seed);
  how.sampling.validate();
  how.logprobs = logprobs ? LogProbs::chosen : LogProbs::none;
  how.caching = no_cache ? Caching::none : Caching::keys;

  const OpenedModel opened = from.open();
  const ModelDescription& description = opened.loaded.description;
  const bool has_text = description.tokenizer.has_value();
  const auto starts = prompts.tokens(description);
  const ModelPattern pattern = choose_pattern(asked, description.adapted, description.config);
  check(eos < description.config.vocab_size, "--eos: expected ids up to ", description.config.vocab_size - 1,
        ", found ", eos);
  check(has_text || how.stop_strings.empty(), "--stop: the model has no tokenizer of its own");
  if (has_text) how.token_text = texts_of(*description.tokenizer);
  if (eos >= 0)
    how.eos = eos;
  else if (eos == -1 && has_text)
    how.eos = description.tokenizer->eos();

  if (!no_cache) require_cache(opened.loaded.model, pattern, starts, how);
  catch_signals();
  how.stop = stop_requested;
  GenerationView view(prompts.names(), how.samples, json ? GenerationView::Output::json : GenerationView::Output::text,
                      has_text ? GenerationView::Tokens::as_text : GenerationView::Tokens::as_ids);
  view.conclude(generate(opened.loaded.model, starts, pattern, how, [&](const NewToken& token) {
    view.add(token);
    return stop_requested() ? Next::stop_all : Next::go_on;
  }));
  return stop_requested() ? signal_exit_code() : 0;
}

}  // namespace ratel::cli
