#include "cli/tokenize_train.h"

#include <chrono>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "core/clock.h"
#include "io/distinct_files.h"
#include "io/file.h"
#include "text/documents.h"
#include "text/inputs.h"
#include "text/rows.h"
#include "text/sentencepiece_training.h"
#include "text/tokenizer.h"

namespace ratel::cli {
namespace {

constexpr std::chrono::milliseconds kQuiet{500};  // what is read by then needs no progress

/// Counts the words of all files. A row that is none is an error: a tokenizer is made of what somebody chose.
void count_words(const std::vector<InputFile>& files, const std::string& field, WordCounts& words) {
  DocumentReader reader(files, Tokenizer::bytes(), [](const InputFile& file) {
    return io::decompressed(io::open_stream(file.path, stop_requested), file.format.compression);
  });
  ProgressLine line;
  const auto start = Clock::now();
  Block block;
  while (!stop_requested() && reader.next(block)) {
    for (const DocumentPart& part : block.parts) {
      if (!part.problem.empty()) throw Error(part.problem, ErrorKind::input);
      const std::string_view bytes = std::string_view(block.bytes).substr(part.begin, part.size);
      const InputFile& file = files[part.input];
      if (file.format.documents == Documents::rows)
        words.add(text_of_row(bytes, field, concat_text(file.name(), ":", part.place)));
      else
        words.add(bytes);
      if (part.is_last) words.end_document();
    }
    if (Clock::now() - start > kQuiet && line.is_due())
      line.show(concat_text("tokenize: ", fixed(static_cast<double>(words.bytes()) / 1e6, 1), " MB, ",
                            with_commas(words.different_words()), " different words"));
  }
  line.finish();
}

}  // namespace

int run_tokenize_train(Arguments args) {
  std::vector<std::string> inputs;
  std::string output, input_format, field = "text";
  bool train = false, json = false;
  SentencePieceTraining how;
  Options options(
      "tokenize --train",
      "Trains a SentencePiece model, with LLaMA's settings: byte pairs, bytes for what has no piece, digits\n"
      "by themselves, nothing normalised. Any text comes back from its tokens as it was.");
  options.positional("INPUT", inputs, "Texts, .jsonl, folders, or -, as for ratel tokenize");
  options.flag("--train", train, "Train a tokenizer");
  options.integer("--vocab", "V", how.vocab_size, "Pieces: 3 control tokens, 256 bytes, characters, what was merged");
  options.text("--output", "FILE.model", output, "Where the tokenizer goes", Presence::required);
  options.real("--character-coverage", "P", how.character_coverage,
               "Characters that make up this part of the text get pieces, rarer ones are spelled in bytes");
  options.text("--input-format", "FORMAT", input_format,
               "txt or jsonl, and .gz or .zst after it: what inputs are whatever their names [by name]");
  options.text("--text-field", "NAME", field, "Of the objects in .jsonl: the member that is the document");
  options.flag("--json", json, "Print one JSON object: vocab_size, bytes, words, seconds, sha256, output");
  options.example("ratel tokenize --train --vocab 4096 data/emma.txt data/persuasion.txt --output tok.model");
  if (options.parse(args) == Options::Parsed::help) return 0;
  how.validate();
  check(output.ends_with(".model"), "--output: expected a name that ends in .model, found ", output);
  const auto tell = [](const std::string& what) { note("ratel: ", what); };
  std::optional<InputFormat> format;
  if (!input_format.empty()) format = parse_input_format(input_format);
  const std::vector<InputFile> files = list_inputs(inputs, format, tell);
  check_output_path(output);
  std::vector<io::FileRole> read;
  for (const InputFile& file : files) read.push_back({"the input", file.path});
  io::check_distinct(std::vector<io::FileRole>{{"the output", output}}, read);

  catch_signals();
  const auto start = Clock::now();
  WordCounts words;
  count_words(files, field, words);
  if (stop_requested()) {
    note("ratel: stopped; ", output, " was not written");
    return signal_exit_code();
  }
  if (words.different_words() > 0)
    note("ratel: training ", with_commas(how.vocab_size), " pieces on ", with_commas(words.different_words()),
         " different words; how far it is cannot be told");
  release_signals();  // the library does not ask whether to stop, and there is nothing yet to be left half written
  const std::string model = train_sentencepiece(words, how);
  catch_signals();
  io::write_file_atomically(output, model);
  const Tokenizer tokenizer = Tokenizer::from_model(model, output);
  const double seconds = seconds_since(start);
  if (json)
    print_json(io::Json::object({{"vocab_size", tokenizer.vocab_size()},
                                 {"bytes", words.bytes()},
                                 {"words", words.different_words()},
                                 {"seconds", seconds},
                                 {"sha256", tokenizer.hash()},
                                 {"output", output}}));
  else
    print(concat_text(output, ": ", with_commas(tokenizer.vocab_size()), " pieces from ", with_commas(words.bytes()),
                      " bytes, ", with_commas(words.different_words()), " different words, in ", human_seconds(seconds),
                      "\n"));
  return 0;
}

}  // namespace ratel::cli
