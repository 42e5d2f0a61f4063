#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "io/file.h"
#include "io/token_file.h"
#include "text/byte_tokenizer.h"

namespace ratel::cli {
namespace {

constexpr size_t kChunk = size_t{1} << 18;

void check_inputs(const std::vector<std::string>& inputs, const std::string& output) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (const std::string& input : inputs) {
    if (input == "-") continue;
    if (!io::path_exists(input)) fail_input(input, "no such file");
    if (io::is_folder(input)) fail_input(input, "is a folder, expected a text file\nhint: ", input, "/*.txt");
    check(!fs::equivalent(input, output, error), input, " is the input and the output");
  }
}

/// Appends the bytes of one document and its end. Returns the bytes, or stops early where a signal came.
int64_t append_document(const std::string& path, io::TokenFileWriter& writer) {
  const auto close = [](std::FILE* file) {
    if (file != stdin) std::fclose(file);
  };
  const std::unique_ptr<std::FILE, decltype(close)> file(path == "-" ? stdin : std::fopen(path.c_str(), "rb"), close);
  if (!file) fail_input(path, std::strerror(errno));
  std::vector<unsigned char> bytes(kChunk);
  std::vector<int64_t> ids;
  int64_t total = 0;
  while (!stop_requested()) {
    errno = 0;
    const size_t count = std::fread(bytes.data(), 1, bytes.size(), file.get());
    if (std::ferror(file.get()) != 0 && errno != EINTR) fail_input(path, std::strerror(errno));
    if (count == 0) break;
    ids.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    writer.append(ids);
    total += static_cast<int64_t>(count);
  }
  const std::array<int64_t, 1> end = {ByteTokenizer::kEos};
  writer.append(end);
  return total;
}

}  // namespace

int run_tokenize(Arguments args) {
  std::vector<std::string> inputs;
  std::string tokenizer = "bytes", output;
  bool json = false;
  Options options("tokenize",
                  "Turns text files into one file of token ids: little-endian u16 without a header.\n"
                  "Each INPUT is a document and ends in the end-of-text token; - reads stdin.");
  options.positional("INPUT", inputs, "Text files, one document each");
  options.text("--output", "FILE.bin", output, "Where the tokens go", Presence::required);
  options.text("--tokenizer", "NAME", tokenizer, "bytes: a token a byte, end-of-text 256");
  options.flag("--json", json, "Print one JSON object: tokens, bytes, documents, vocab_size, output");
  options.example("ratel tokenize --tokenizer bytes data/emma.txt data/persuasion.txt --output train.bin");
  if (options.parse(args) == Options::Parsed::help) return 0;
  check(tokenizer == "bytes", "--tokenizer: expected bytes, found '", tokenizer, "'");
  check_output_path(output);
  check_inputs(inputs, output);

  catch_signals();
  io::TokenFileWriter writer(output, ByteTokenizer::kVocabSize);
  int64_t bytes = 0;
  for (const std::string& input : inputs) {
    const int64_t length = append_document(input, writer);
    if (stop_requested()) {
      note("ratel: stopped; ", output, " was not written");
      return signal_exit_code();
    }
    if (length == 0) note("ratel: ", input, " is empty");
    bytes += length;
  }
  const int64_t tokens = writer.size(), documents = static_cast<int64_t>(inputs.size());
  writer.close();
  if (json)
    print_json(io::Json::object({{"tokens", tokens},
                                 {"bytes", bytes},
                                 {"documents", documents},
                                 {"vocab_size", ByteTokenizer::kVocabSize},
                                 {"output", output}}));
  else
    print(concat_text(output, ": ", with_commas(tokens), " tokens from ", with_commas(bytes), " bytes in ", documents,
                      documents == 1 ? " document\n" : " documents\n"));
  return 0;
}

}  // namespace ratel::cli
