#include <algorithm>
#include <optional>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/tokenize_train.h"
#include "core/clock.h"
#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "io/token_sidecar.h"
#include "text/corpus.h"
#include "text/inputs.h"
#include "text/tokenizer.h"

namespace ratel::cli {
namespace {

using io::Json;

constexpr double kQuiet = 0.5;  // seconds: what is done by then needs no progress

double megabytes(double bytes) { return bytes / 1e6; }

/// "tokenize: 12.3 of 29.0 MB, 34.1 MB/s of text, 7,200,000 tokens, ETA 3 s"
std::string progress_text(const CorpusProgress& at, double seconds) {
  std::string text = concat_text("tokenize: ", fixed(megabytes(static_cast<double>(at.used)), 1));
  if (at.total) text += concat_text(" of ", fixed(megabytes(static_cast<double>(*at.total)), 1));
  text += concat_text(" MB, ", fixed(megabytes(static_cast<double>(at.text_bytes)) / seconds, 1), " MB/s of text, ",
                      with_commas(at.tokens), " tokens");
  if (at.bad > 0) text += concat_text(", ", with_commas(at.bad), at.bad == 1 ? " bad row" : " bad rows");
  if (at.total && at.used > 0)
    text +=
        concat_text(", ETA ", human_seconds(seconds * static_cast<double>(*at.total - std::min(*at.total, at.used)) /
                                            static_cast<double>(at.used)));
  return text;
}

Json json_of(const CorpusResult& result, const Tokenizer& tokenizer, const CorpusOptions& how, double seconds) {
  const TokenCounts& train = result.train;
  const int64_t all = train.text_bytes + result.validation.text_bytes;
  Json json = Json::object({{"tokens", train.tokens},
                            {"bytes", train.text_bytes},
                            {"documents", train.documents},
                            {"vocab_size", tokenizer.vocab_size()},
                            {"output", how.output},
                            {"empty_documents", result.empty},
                            {"bad_rows", result.bad},
                            {"seconds", seconds},
                            {"megabytes_per_second", megabytes(static_cast<double>(all)) / seconds}});
  if (!how.validation.empty())
    json.set("validation", Json::object({{"tokens", result.validation.tokens},
                                         {"bytes", result.validation.text_bytes},
                                         {"documents", result.validation.documents},
                                         {"output", how.validation}}));
  return json;
}

std::string line_of(const std::string& path, const TokenCounts& counts) {
  return concat_text(path, ": ", with_commas(counts.tokens), " tokens from ", with_commas(counts.text_bytes),
                     " bytes in ", with_commas(counts.documents),
                     counts.documents == 1 ? " document\n" : " documents\n");
}

}  // namespace

int run_tokenize(Arguments args) {
  if (std::ranges::find(args, "--train") != args.end()) return run_tokenize_train(args);
  std::vector<std::string> inputs;
  std::string name = "bytes", input_format;
  int64_t threads = 0, seed = 0;
  bool json = false;
  CorpusOptions how;
  Options options(
      "tokenize",
      "Turns text into a file of token ids, little-endian u16, or u32 where the vocabulary is above 65536,\n"
      "and a description of it beside it, FILE.bin.json. Documents end in the end-of-text token. An INPUT\n"
      "is a text (one document), a .jsonl file (a document a row), one of these and .gz or .zst, a folder\n"
      "of such files, or - for stdin.");
  options.positional("INPUT", inputs, "Texts, .jsonl, folders, or -");
  options.text("--output", "FILE.bin", how.output, "Where the tokens go", Presence::required);
  options.text("--tokenizer", "NAME", name, "bytes: a token a byte, end-of-text 256; or a SentencePiece FILE.model");
  options.text("--input-format", "FORMAT", input_format,
               "txt or jsonl, and .gz or .zst after it: what inputs are whatever their names [by name]");
  options.text("--text-field", "NAME", how.text_field, "Of the objects in .jsonl: the member that is the document");
  options.integer("--max-bad", "N", how.max_bad,
                  "Rows that are no such object are left out and reported; more than N\n"
                  "are an error");
  options.text("--validation", "FILE.bin", how.validation, "Sets some of the documents apart, for validation");
  options.real("--validation-fraction", "P", how.validation_fraction, "How many: each with this probability");
  options.integer("--seed", "N", seed, "Which: a function of the seed and the number of the document");
  options.integer("--threads", "N", threads, "That encode; 0: one a processor. The file is the same for any number");
  options.flag("--json", json,
               "Print one JSON object: tokens, bytes, documents, vocab_size, output, bad_rows and more");
  options.example("ratel tokenize --tokenizer bytes data/emma.txt data/persuasion.txt --output train.bin");
  options.example("ratel tokenize --tokenizer llama.model pile.jsonl.zst --output train.bin --max-bad 100");
  options.example("ratel tokenize corpus/ --output train.bin --validation heldout.bin --validation-fraction 0.01");
  options.example("ratel tokenize --train --vocab 4096 corpus/ --output tok.model   # see --train --help");
  options.example("ratel tokenize --tokenizer tok.model corpus/ --output train.bin");
  options.example("curl https://... | ratel tokenize - --input-format jsonl.zst --output train.bin");
  if (options.parse(args) == Options::Parsed::help) return 0;
  check(threads >= 0 && threads <= 4096, "--threads: expected 0 to 4096, found ", threads);
  check(seed >= 0, "--seed: expected 0 or more, found ", seed);
  check(how.max_bad >= 0, "--max-bad: expected 0 or more, found ", how.max_bad);
  check(how.validation_fraction > 0 && how.validation_fraction < 1,
        "--validation-fraction: expected a number between 0 and 1, found ", how.validation_fraction);
  for (const char* name : {"--validation-fraction", "--seed"})
    check(options.given("--validation") || !options.given(name), name, ": expected --validation FILE.bin with it");
  how.threads = static_cast<int>(threads);
  how.seed = static_cast<uint64_t>(seed);
  const Tokenizer tokenizer = Tokenizer::named(name);
  std::optional<InputFormat> format;
  if (!input_format.empty()) format = parse_input_format(input_format);

  const auto tell = [](const std::string& what) { note("ratel: ", what); };
  const std::vector<InputFile> files = list_inputs(inputs, format, tell);
  for (const InputFile& file : files)
    if (const std::string sidecar = io::token_sidecar_path(file.path);
        file.path.ends_with(".bin") && io::path_exists(sidecar))
      fail_input(file.path, "expected text, found tokens, which ", sidecar, " describes");
  check_output_path(how.output);
  if (options.given("--validation")) check_output_path(how.validation);
  check_files(tokenizer, files, how);
  if (!tokenizer.eos()) tell(name + " has no end-of-text token; documents are joined without one");
  if (!tokenizer.lossless()) tell(name + " normalises text; what it cannot express is lost");
  catch_signals();
  how.stop = stop_requested;
  ProgressLine line;
  const auto start = Clock::now();
  how.progress = [&](const CorpusProgress& at) {
    const double seconds = seconds_since(start);
    if (seconds > kQuiet && line.is_due()) line.show(progress_text(at, seconds));
  };
  how.bad = [&](const std::string& what) { line.note("ratel: left out: " + what); };
  const CorpusResult result = tokenize_corpus(tokenizer, files, how);
  const double seconds = seconds_since(start);
  line.finish();
  if (result.status == CorpusResult::Status::stopped) {
    note("ratel: stopped; ", how.output, " was not written");
    return signal_exit_code();
  }
  if (result.bad > kBadShown) note("ratel: left out ", with_commas(result.bad), " bad rows in all");
  if (result.empty > 0)
    note("ratel: left out ", with_commas(result.empty),
         result.empty == 1 ? " document without text" : " documents without text");
  if (json)
    print_json(json_of(result, tokenizer, how, seconds));
  else
    print(line_of(how.output, result.train) +
          (how.validation.empty() ? "" : line_of(how.validation, result.validation)));
  return 0;
}

}  // namespace ratel::cli
