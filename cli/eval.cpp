#include "train/evaluate.h"

#include <algorithm>
#include <cmath>

#include "cli/cache_size.h"
#include "cli/commands.h"
#include "cli/eval_task.h"
#include "cli/model_options.h"
#include "cli/model_tokens.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pattern_options.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "models/description.h"

namespace ratel::cli {
namespace {

using io::Json;

struct Evaluation {
  train::EvalResult result;
  int64_t seq_len;
  ModelPattern pattern;
  CacheSize cache;
};

Json as_json(const Evaluation& evaluation) {
  const auto& [result, seq_len, pattern, cache] = evaluation;
  return Json::object({{"loss", result.loss},
                       {"perplexity", result.perplexity},
                       {"tokens", result.tokens},
                       {"complete", result.complete},
                       {"seq_len", seq_len},
                       {"pattern", to_json(pattern)},
                       {"kv_cache", to_json(cache)}});
}

std::string as_text(const Evaluation& evaluation) {
  const auto& [result, seq_len, pattern, cache] = evaluation;
  return concat_text("loss        ", brief(result.loss, 17), " nats a token\nperplexity  ",
                     brief(result.perplexity, 17), "\ntokens      ", with_commas(result.tokens), " in windows of ",
                     seq_len, "\npattern     ", pattern, "\nKV cache    ", text_of(cache), "\n");
}

}  // namespace

int run_eval(Arguments args) {
  ModelOptions from;
  PatternOptions asked;
  std::string data;
  int64_t seq_len = 0, context = 4096, batch_size = 8;
  EndOfText eos;
  TaskOptions task;
  bool json = false;
  Options options("eval",
                  "Loss and perplexity of a model over a token file, in consecutive windows of T tokens, each token\n"
                  "predicting the next one; or, with --task, how well it does on an evaluation task.");
  from.add_to(options);
  options.text("--data", "FILE.bin", data, "Token file, as ratel tokenize writes it");
  options.integer("--seq-len", "T", seq_len, "Tokens of a window; 0: as the model was trained, or 256");
  asked.add_to(options);
  eos.add_to(options);
  options.integer("--batch-size", "N", batch_size, "Windows, or texts of a task, computed at once");
  options.integer("--context", "N", context, "Tokens of context that the KV cache is stated for");
  task.add_to(options);
  options.flag("--json", json,
               "Print one JSON object: loss, perplexity, tokens and more; of a task its metrics and every\n"
               "example's score");
  options.example("ratel eval --model runs/tiny --data heldout.bin --dilation 16 --json");
  options.example("ratel eval --model runs/tiny --data heldout.bin --dilation 1,16,16,64 --window 32");
  options.example("ratel eval --model runs/tiny --task single_1 --length 1024 --dilation 16");
  options.example("ratel eval --model runs/tiny --task hellaswag.jsonl --limit 1000 --output hellaswag.json");
  if (options.parse(args) == Options::Parsed::help) return 0;
  check(options.given("--data") || options.given("--task"), "--data is missing\nhint: or --task");
  check(!options.given("--data") || !options.given("--task"), "expected one of --data and --task, found both");
  check(seq_len >= 0, "--seq-len: expected 1 or more, found ", seq_len);
  check(batch_size >= 1, "--batch-size: expected 1 or more, found ", batch_size);
  constexpr int64_t kLongestContext = int64_t{1} << 32;
  check(context >= 1 && context <= kLongestContext, "--context: expected 1 to ", kLongestContext, ", found ", context);
  if (options.given("--task")) return run_eval_task(task, options, {from, asked, batch_size, context, json});
  TaskOptions::check_absent(options);
  const std::optional<int64_t> asked_eos = eos.given();

  const OpenedModel opened = from.open();
  const RatPlusConfig& config = opened.loaded.model.config;
  train::EvalOptions how;
  how.seq_len = seq_len > 0 ? seq_len : opened.seq_len;
  how.pattern = choose_pattern(asked, opened.loaded.description.adapted, config);
  how.batch_size = batch_size;
  how.eos = end_of_text(asked_eos, opened, data);
  const io::TokenFile file = open_tokens(opened, data, how.eos);
  const int64_t windows = std::max<int64_t>(1, (file.size() - 1) / how.seq_len);
  train::require_memory_for(opened.loaded.model, std::min(batch_size, windows), std::min(how.seq_len, file.size()));
  catch_signals();
  file.validate(stop_requested);

  how.stop = stop_requested;
  ProgressLine line;
  how.progress = [&line](int64_t done, int64_t total) {
    line.show(concat_text("eval: ", with_commas(done), " of ", with_commas(total), " tokens"));
  };
  const Evaluation evaluation{train::evaluate(opened.loaded.model, file, how), how.seq_len, how.pattern,
                              cache_size(opened, how.pattern, context)};
  line.finish();
  if (const double loss = evaluation.result.loss; evaluation.result.tokens > 0 && !std::isfinite(loss))
    throw Error(concat_text(data, ": the model's loss on it is ", loss,
                            "\nhint: its weights are not finite, or overflow on the way; `ratel plot` shows where a "
                            "run diverged"),
                ErrorKind::numerical);
  if (!evaluation.result.complete) note("ratel: stopped early, after ", evaluation.result.tokens, " tokens");
  if (json)
    print_json(as_json(evaluation));
  else
    print(as_text(evaluation));
  return evaluation.result.complete ? 0 : signal_exit_code();
}

}  // namespace ratel::cli
