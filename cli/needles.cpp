#include <chrono>
#include <vector>

#include "cli/commands.h"
#include "cli/needle_options.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "core/clock.h"
#include "core/text.h"
#include "io/distinct_files.h"
#include "io/file.h"
#include "io/json.h"
#include "io/report.h"
#include "tasks/needles.h"

namespace ratel::cli {
namespace {

using io::Json;
using tasks::LengthFit;
using tasks::NeedleExample;
using tasks::NeedleOptions;
using tasks::NeedleTask;

constexpr std::chrono::milliseconds kQuiet{500};  // what is done by then needs no progress

NeedleTask task_named(const std::string& name) {
  if (const auto task = tasks::needle_task(name)) return *task;
  fail("--task: expected ", choices_of(names_of(NeedleTask{}), ", "), ", found ", io::in_quotes(name),
       suggested_task(name));
}

Json row_of(const NeedleExample& example) {
  return Json::object({{"prompt", example.prompt},
                       {"answers", Json::array_of(example.answers)},
                       {"completion", example.completion},
                       {"max_new_tokens", example.max_new_tokens},
                       {"metric", "string_match"},
                       {"text", example.prompt + example.completion}});
}

}  // namespace

int run_needles(Arguments args) {
  std::string task = "single_1", haystack, tokenizer = "bytes", output;
  int64_t examples = 100;
  bool exact = false, json = false;
  NeedleOptions how;
  Options options(
      "needles",
      "Makes examples of RULER's needle tasks, a row of JSON each: sentences with magic numbers hidden in a long\n"
      "text, a question for them, and the answer. `ratel eval --task FILE.jsonl` evaluates a model on them,\n"
      "`ratel tokenize FILE.jsonl` makes training data of them.");
  options.text("--task", "NAME", task,
               "single_1, single_2, single_3: one needle. multikey_1: one of 4; multikey_2, multikey_3: one of\n"
               "a text full of them. multivalue: all 4 of one key. multiquery: 4 keys at once");
  options.integer("--length", "T", how.length, "Tokens of a prompt and what the model says after it, at most");
  options.integer("--examples", "N", examples, "How many");
  options.integer("--seed", "N", how.seed,
                  "Which: an example is a function of seed, task and number. Another for\n"
                  "training than for evaluation");
  options.text("--haystack", "FILE", haystack,
               "A text whose sentences hide the needles [five short sentences again and again: RULER does so in\n"
               "single_1 alone]");
  options.text("--tokenizer", "NAME", tokenizer, "What counts the tokens: bytes, or a SentencePiece FILE.model");
  options.integer("--max-new-tokens", "N", how.max_new_tokens,
                  "What the model may say; 0: as much as the answer takes. RULER: 128");
  options.flag("--exact", exact,
               "Of bytes: prompt, answer and end-of-text are exactly T tokens, so that windows of training\n"
               "data are one example each");
  options.text("--output", "FILE.jsonl", output, "Where the rows go", Presence::required);
  options.flag("--json", json, "Print one JSON object: task, examples, length, seed, bytes, seconds, output");
  options.example("ratel needles --task single_1 --length 4096 --seed 1 --output single_1.jsonl");
  options.example("ratel needles --task multikey_1 --length 4096 --haystack emma.txt --output multikey_1.jsonl");
  options.example("ratel needles --length 512 --examples 2000 --seed 7 --exact --output practice.jsonl");
  options.example("ratel tokenize practice.jsonl --output practice.bin   # 512 tokens an example");
  if (options.parse(args) == Options::Parsed::help) return 0;
  how.task = task_named(task);
  how.fit = exact ? LengthFit::exact : LengthFit::at_most;
  check_needles(how, examples, options.given("--haystack"));
  check_output_path(output);
  how.tokenizer = Tokenizer::named(tokenizer);
  std::vector<io::FileRole> read;
  if (options.given("--haystack")) {
    how.haystack = read_haystack(haystack);
    read.push_back({"the haystack", haystack});
  }
  if (how.tokenizer.kind() == TokenizerKind::sentencepiece) read.push_back({"the tokenizer", tokenizer});
  io::check_distinct(std::vector<io::FileRole>{{"the output", output}}, read);

  note_noise(how);
  catch_signals();
  const auto start = Clock::now();
  ProgressLine line;
  io::AtomicFile file(output);
  int64_t bytes = 0;
  how.stop = stop_requested;
  for (int64_t i = 0; i < examples; ++i) {
    const NeedleExample example = needle_example(how, i);
    if (stop_requested()) {
      line.finish();
      note("ratel: stopped; ", output, " was not written");
      return signal_exit_code();
    }
    const std::string row = row_of(example).dump() + "\n";
    file.write(row);
    bytes += static_cast<int64_t>(row.size());
    if (Clock::now() - start > kQuiet && line.is_due())
      line.show(concat_text("needles: ", with_commas(i + 1), " of ", with_commas(examples), " examples"));
  }
  file.commit();
  line.finish();
  const double seconds = seconds_since(start);
  if (json)
    print_json(Json::object({{"task", name_in(names_of(how.task), how.task)},
                             {"examples", examples},
                             {"length", how.length},
                             {"seed", how.seed},
                             {"bytes", bytes},
                             {"seconds", seconds},
                             {"output", output}}));
  else
    print(concat_text(output, ": ", with_commas(examples), examples == 1 ? " example" : " examples", " of ",
                      name_in(names_of(how.task), how.task), ", ", exact ? "" : "up to ", with_commas(how.length),
                      " tokens each\n"));
  return 0;
}

}  // namespace ratel::cli
