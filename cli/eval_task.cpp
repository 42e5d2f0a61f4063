#include "cli/eval_task.h"

#include <cmath>
#include <exception>
#include <optional>

#include "cli/cache_size.h"
#include "cli/needle_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/table.h"
#include "core/clock.h"
#include "core/free_memory.h"
#include "core/text.h"
#include "io/distinct_files.h"
#include "io/file.h"
#include "io/report.h"
#include "models/description.h"
#include "models/generate.h"
#include "tasks/generation_task.h"
#include "tasks/multiple_choice.h"
#include "tasks/needles.h"

namespace ratel::cli {
namespace {

using io::Json;
using tasks::GenerationRow;
using tasks::GenerationTaskOptions;
using tasks::LastWordRow;
using tasks::Metric;
using tasks::MultipleChoiceRow;
using tasks::NeedleExample;
using tasks::NeedleOptions;
using tasks::NeedleTask;
using tasks::TaskKind;
using tasks::TaskResult;
using tasks::TaskRow;
using tasks::TaskSetting;
using tasks::TextMetric;

constexpr std::string_view kTemplate = "{context}\n\n{input}";
constexpr int64_t kNewTokens = 64;  // of rows that say nothing of it
const std::vector<std::string> kOfNeedles = {"--length", "--examples", "--seed", "--haystack"};
const std::vector<std::string> kOfFiles = {"--kind", "--limit", "--max-length"};
const std::vector<std::string> kOfGeneration = {"--template", "--metric", "--first-line"};
const std::vector<std::string> kOfTexts = {"--max-new-tokens", "--stop"};  // needles and generation

void refuse(const Options& options, const std::vector<std::string>& names, std::string_view why) {
  for (const std::string& name : names) check(!options.given(name), name, ": ", why);
}

/// What a task asks of a model, read before the model is.
struct Questions {
  std::optional<NeedleOptions> needles;  // whose examples take the model's tokenizer
  TaskKind kind = TaskKind::generation;
  std::vector<MultipleChoiceRow> choices;
  std::vector<LastWordRow> words;
  std::vector<GenerationRow> prompts;
};

void check_file(const std::string& path) {
  if (path == "-" || io::path_exists(path)) return;
  fail_input(path, "no such file; expected one of JSON lines, or a task: ", choices_of(names_of(NeedleTask{}), ", "),
             suggested_task(path));
}

std::optional<TaskKind> kind_named(const std::string& name) {
  if (name.empty()) return {};
  const auto kind = value_in(names_of(TaskKind{}), name);
  check(kind.has_value(), "--kind: expected ", choices_of(names_of(TaskKind{}), ", "), ", found '", name, "'");
  return kind;
}

void add_row(Questions& questions, const TaskRow& row, std::string_view prompt_template) {
  switch (questions.kind) {
    case TaskKind::multiple_choice: questions.choices.push_back(multiple_choice_row(row)); break;
    case TaskKind::last_word: questions.words.push_back(last_word_row(row)); break;
    case TaskKind::generation: questions.prompts.push_back(generation_row(row, prompt_template));
  }
}

/// The same of a row after the first, which has decided the kind: an error says so where that is what is wrong.
void add_further_row(Questions& questions, const TaskRow& row, std::string_view prompt_template) {
  try {
    add_row(questions, row, prompt_template);
  } catch (const Error& error) {
    std::optional<TaskKind> own;
    try {
      own = tasks::kind_of(row);
    } catch (const Error&) {  // of none: what is missing says enough
    }
    if (!own || *own == questions.kind) throw;
    throw Error(concat_text(error.what(), "\nhint: the first row makes all of the kind ",
                            name_in(names_of(TaskKind{}), questions.kind), ", and this one looks like ",
                            name_in(names_of(TaskKind{}), *own), "; see --kind"),
                error.kind());
  }
}

/// Reads the rows of a file one by one.
void read_rows(const TaskOptions& task, const Options& options, Questions& questions) {
  const auto kind = kind_named(task.kind);
  if (options.given("--template")) tasks::check_template(task.prompt_template, "--template");
  const std::string_view prompt_template = options.given("--template") ? task.prompt_template : kTemplate;
  bool is_first = true, is_template_used = false;
  const auto take = [&](const TaskRow& row) {
    is_template_used = is_template_used || takes_template(row);
    if (!is_first && !kind) return add_further_row(questions, row, prompt_template);
    if (is_first) {
      questions.kind = kind ? *kind : tasks::kind_of(row);
      if (questions.kind != TaskKind::generation) {
        const std::string why = concat_text("expected a task of the kind generation, found ",
                                            name_in(names_of(TaskKind{}), questions.kind));
        refuse(options, kOfGeneration, why);
        refuse(options, kOfTexts, why);
      }
    }
    is_first = false;
    add_row(questions, row, prompt_template);
  };
  tasks::for_each_task_row(task.task, task.limit, stop_requested, take);
  if (options.given("--template") && !is_template_used)
    note("ratel: --template: no row takes it, since each has a \"prompt\" of its own");
}

Questions questions_of(const TaskOptions& task, const Options& options) {
  Questions questions;
  if (const auto named = tasks::needle_task(task.task)) {
    refuse(options, kOfFiles, "expected a file for --task, found a task by name");
    refuse(options, kOfGeneration, "expected a file for --task, found a task by name");
    NeedleOptions how;
    how.task = *named;
    how.length = task.length;
    how.seed = task.seed;
    how.max_new_tokens = task.max_new_tokens;
    check_needles(how, task.examples, options.given("--haystack"));
    if (options.given("--haystack")) how.haystack = read_haystack(task.haystack);
    note_noise(how);
    questions.needles = std::move(how);
    return questions;
  }
  check_file(task.task);
  refuse(options, kOfNeedles, "expected a needle task for --task, found a file");
  check(task.limit >= 0, "--limit: expected 0 or more, found ", task.limit);
  read_rows(task, options, questions);
  return questions;
}

GenerationTaskOptions generation_options(const TaskOptions& task) {
  GenerationTaskOptions how;
  const auto metric = value_in(names_of(TextMetric{}), task.metric);
  check(metric.has_value(), "--metric: expected ", choices_of(names_of(TextMetric{}), ", "), ", found '", task.metric,
        "'");
  for (const std::string& text : task.stop_strings) check(!text.empty(), "--stop: expected at least one character");
  check(task.max_new_tokens >= 0 && task.max_new_tokens <= kMostNewTokens, "--max-new-tokens: expected 0 to ",
        kMostNewTokens, ", found ", task.max_new_tokens);
  check(task.max_length >= 0, "--max-length: expected 0 or more, found ", task.max_length);
  how.metric = *metric;
  how.max_new_tokens = task.max_new_tokens > 0 ? task.max_new_tokens : kNewTokens;
  how.max_length = task.max_length;
  how.stop_strings = task.stop_strings;
  how.scored = task.first_line ? tasks::ScoredPart::first_line : tasks::ScoredPart::all;
  return how;
}

/// Needles as rows of a file would be. Fewer where a signal came.
std::vector<GenerationRow> needle_rows(NeedleOptions how, const Tokenizer& tokenizer, int64_t examples) {
  how.tokenizer = tokenizer;
  how.stop = stop_requested;
  std::vector<GenerationRow> rows;
  for (int64_t i = 0; i < examples; ++i) {
    NeedleExample example = needle_example(how, i);
    if (stop_requested()) break;
    if (i == 0)  // all are about as long
      require_memory(bounded_product({examples, static_cast<int64_t>(sizeof(GenerationRow) + example.prompt.size())}),
                     concat_text("the prompts of ", counted(examples, "example")), "fewer --examples");
    GenerationRow row{concat_text(name_in(names_of(how.task), how.task), ":", i), {}, {}, {}, {}, {}, {}, {}};
    row.prompt = std::move(example.prompt);
    row.answers = std::move(example.answers);
    row.completion = std::move(example.completion);
    row.metric = TextMetric::string_match;
    row.max_new_tokens = example.max_new_tokens;
    rows.push_back(std::move(row));
  }
  return rows;
}

struct Evaluated {
  TaskResult result;
  double seconds;
  ModelPattern pattern;
  CacheSize cache;
};

Json as_json(const TaskOptions& task, const Questions& questions, const Evaluated& evaluated) {
  Json metrics = Json::object(), errors = Json::object();
  for (const Metric& metric : evaluated.result.metrics) {
    metrics.set(metric.name, metric.value);
    errors.set(metric.name, metric.standard_error);
  }
  Json json = Json::object({{"task", task.task}, {"kind", name_in(names_of(TaskKind{}), questions.kind)}});
  if (questions.needles) {
    json.set("length", task.length);
    json.set("seed", task.seed);
    json.set("haystack", task.haystack.empty() ? Json() : Json(task.haystack));
  }
  json.set("metrics", std::move(metrics));
  json.set("standard_errors", std::move(errors));
  json.set("examples", evaluated.result.scores.size());
  json.set("seconds", evaluated.seconds);
  json.set("complete", evaluated.result.complete);
  json.set("pattern", to_json(evaluated.pattern));
  json.set("kv_cache", to_json(evaluated.cache));
  json.set("scores", Json::array(evaluated.result.scores));
  return json;
}

std::string as_text(const TaskOptions& task, const Evaluated& evaluated) {
  std::vector<std::vector<std::string>> rows = {{"metric", "value", "standard error"}};
  for (const Metric& metric : evaluated.result.metrics)
    rows.push_back({metric.name, fixed(metric.value, 4),
                    std::isfinite(metric.standard_error) ? fixed(metric.standard_error, 4) : "-"});
  return concat_text("task      ", task.task, ", ",
                     counted(static_cast<int64_t>(evaluated.result.scores.size()), "example"), " in ",
                     human_seconds(evaluated.seconds), "\npattern   ", evaluated.pattern, "\nKV cache  ",
                     text_of(evaluated.cache), "\n\n", table_text(rows));
}

}  // namespace

void TaskOptions::add_to(Options& options) {
  options.text(
      "--task", "NAME|FILE", task,
      "In place of --data: a needle task (single_1 to single_3, multikey_1 to multikey_3, multivalue,\n"
      "multiquery), or a file of JSON lines: multiple choice, last words or prompts with answers. A file of a\n"
      "task's name is ./single_1");
  options.text("--kind", "KIND", kind, "Of a file: multiple_choice, last_word or generation [by its first row]");
  options.integer("--limit", "N", limit, "The first N rows of a file; 0: all");
  options.integer("--max-length", "N", max_length,
                  "Tokens that the model reads of a row of a file at most, the last ones; of a prompt with\n"
                  "answers the first and the last half; 0: all");
  options.text("--template", "TEXT", prompt_template,
               "The prompt of rows that have none, with {context} and {input} in it [both, an empty line between];\n"
               "a line break in it is $'\\n' in bash: $'{context}\\nQ: {input}'");
  options.text("--metric", "NAME", metric,
               "Of rows that name none: f1, rouge_l, exact_match, classification or string_match");
  options.flag("--first-line", first_line, "Score the first line of what the model says that is not empty");
  options.integer("--max-new-tokens", "N", max_new_tokens,
                  "What the model may say: to rows that name no number, 0: 64; to needles, 0: as much as the answer\n"
                  "takes");
  options.texts("--stop", "TEXT", stop_strings, "The model's text ends before this; several, when given again");
  options.integer("--length", "T", length, "Of needles: tokens of a prompt and what the model says after it, at most");
  options.integer("--examples", "N", examples, "Of needles: how many");
  options.integer("--seed", "N", seed, "Of needles: which");
  options.text("--haystack", "FILE", haystack,
               "Of needles: a text whose sentences hide them [noise: RULER does so in single_1 alone]");
  options.text("--output", "FILE.json", output,
               "Of a task: what --json prints, every example's score with it; not written of one that stopped early");
}

void TaskOptions::check_absent(const Options& options) {
  for (const auto* names : {&kOfNeedles, &kOfFiles, &kOfGeneration, &kOfTexts})
    refuse(options, *names, "expected --task with it");
  refuse(options, {"--output"}, "expected --task with it");
}

int run_eval_task(const TaskOptions& task, const Options& options, const TaskRun& run) {
  refuse(options, {"--seq-len", "--eos"}, "expected --data with it");
  const GenerationTaskOptions how = generation_options(task);
  if (options.given("--output")) {
    check_output_path(task.output);
    std::vector<io::FileRole> read;
    if (!tasks::needle_task(task.task)) read.push_back({"the task", task.task});
    if (!task.haystack.empty()) read.push_back({"the haystack", task.haystack});
    if (!run.pattern.file.empty()) read.push_back({"the pattern", run.pattern.file});
    io::check_distinct(std::vector<io::FileRole>{{"the output", task.output}}, read);
  }
  catch_signals();
  Questions questions = questions_of(task, options);
  if (stop_requested()) return signal_exit_code();
  const OpenedModel opened = run.from.open();
  const ModelDescription& description = opened.loaded.description;
  check(description.tokenizer.has_value(), "--task: the model has no tokenizer of its own");
  const ModelPattern pattern = choose_pattern(run.pattern, description.adapted, description.config);

  ProgressLine line;
  TaskSetting setting{opened.loaded.model, *description.tokenizer, pattern, run.batch_size, stop_requested, {}};
  setting.progress = [&line](int64_t done, int64_t total) {
    line.show(concat_text("eval: ", with_commas(done), " of ", with_commas(total), " examples"));
  };
  const auto start = Clock::now();
  if (questions.needles) questions.prompts = needle_rows(*questions.needles, *description.tokenizer, task.examples);
  Evaluated evaluated{{}, 0, pattern, cache_size(opened, pattern, run.context)};
  switch (questions.kind) {
    case TaskKind::multiple_choice:
      evaluated.result = evaluate_multiple_choice(setting, questions.choices, {task.max_length});
      break;
    case TaskKind::last_word: evaluated.result = evaluate_last_word(setting, questions.words, {task.max_length}); break;
    case TaskKind::generation: evaluated.result = evaluate_generation(setting, questions.prompts, how);
  }
  evaluated.seconds = seconds_since(start);
  line.finish();
  const bool is_whole = questions.needles ? static_cast<int64_t>(questions.prompts.size()) == task.examples : true;
  evaluated.result.complete = evaluated.result.complete && is_whole;

  const TaskResult& result = evaluated.result;
  if (!result.complete)
    note("ratel: stopped early, after ", counted(static_cast<int64_t>(result.scores.size()), "example"),
         task.output.empty() ? "" : concat_text("; ", task.output, " was not written"));
  const Json json = as_json(task, questions, evaluated);
  std::exception_ptr unwritten;  // is not to keep from the screen what was computed
  if (result.complete && !task.output.empty()) try {
      io::write_file_atomically(task.output, json.dump(2) + "\n");
    } catch (const Error&) {
      unwritten = std::current_exception();
    }
  if (run.json)
    print_json(json);
  else
    print(as_text(task, evaluated));
  if (unwritten) std::rethrow_exception(unwritten);
  if (result.error) throw Error(*result.error);
  return result.complete ? 0 : signal_exit_code();
}

}  // namespace ratel::cli
