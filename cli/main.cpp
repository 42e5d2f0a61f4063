#include <array>
#include <csignal>
#include <new>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/signals.h"
#include "core/build.h"
#include "core/error.h"
#include "core/text.h"

namespace ratel::cli {
namespace {

struct Command {
  const char* name;
  int (*run)(Arguments args);
  const char* summary;
};

constexpr std::array<Command, 12> kCommands = {{
    {"tokenize", run_tokenize, "turn text files into a file of token ids"},
    {"train", run_train, "pretrain a model, or resume"},
    {"adapt", run_adapt, "adapt a pretrained model to one sparse pattern"},
    {"eval", run_eval, "loss over a token file, or the score of an evaluation task, at any dilation"},
    {"generate", run_generate, "continue a prompt"},
    {"needles", run_needles, "make examples of RULER's needle tasks"},
    {"search", run_search, "find the dilation of every layer or head within a KV budget"},
    {"bench", run_bench, "speed and memory of prefill, decoding, training or a layer"},
    {"convert", run_convert, "turn checkpoints of PyTorch into model folders, and back"},
    {"inspect", run_inspect, "say what a model, run, checkpoint or file holds"},
    {"doctor", run_doctor, "say what this build and machine can do, and what is missing"},
    {"plot", run_plot, "draw training curves of one or several runs as SVG"},
}};

void print_help() {
  std::string text =
      "ratel: RAT+ language models, trained densely once, then run at any dilation\n"
      "\nUsage: ratel COMMAND [OPTIONS]\n\nCommands:\n";
  for (const Command& command : kCommands)
    text +=
        concat_text("  ", command.name, std::string(11 - std::string(command.name).size(), ' '), command.summary, "\n");
  text +=
      "\n  ratel COMMAND --help   options and examples of one command\n"
      "  ratel --version\n"
      "\nExit codes: 0 done, 2 usage, 3 bad input file, 4 out of memory, 5 disk, 6 numbers that are not finite, "
      "129/130/143 "
      "signals\n";
  print(text);
}

int dispatch(std::vector<std::string> args) {
  if (args.empty()) fail("a command is missing\nhint: ratel help");
  if (args[0] == "--version" || args[0] == "version") {
    print(concat_text("ratel ", kVersion, "\n"));
    return 0;
  }
  if (args[0] == "help" && args.size() > 1) args = {args[1], "--help"};
  if (args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
    print_help();
    return 0;
  }
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (args[0] == command.name) return command.run(Arguments(args).subspan(1));
    names.emplace_back(command.name);
  }
  const std::string near = nearest(args[0], names);
  fail("unknown command '", args[0], "'\nhint: ", near.empty() ? "ratel help" : "the nearest command is " + near);
}

int report(const std::string& message, int code) {
  note_line("ratel: " + message);
  return code;
}

}  // namespace
}  // namespace ratel::cli

int main(int argc, char** argv) {
  ratel::cli::reserve_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit of `ulimit -f` then reports it, as a full disk does
  ratel::cli::explain_bus_errors();
  try {
    return ratel::cli::dispatch({argv + 1, argv + argc});
  } catch (const ratel::Error& error) {
    return ratel::cli::report(error.what(), static_cast<int>(error.kind()));
  } catch (const std::bad_alloc&) {
    return ratel::cli::report("out of memory", static_cast<int>(ratel::ErrorKind::memory));
  } catch (const std::exception& error) {
    // Of libraries; oneTBB tells by its text alone that the system gave no thread.
    const std::string text = error.what();
    if (text.find("pthread_create") != std::string::npos)
      return ratel::cli::report(text +
                                    "\nhint: the system gives no memory or no number for another thread: see "
                                    "`ulimit -v` and `ulimit -u`",
                                static_cast<int>(ratel::ErrorKind::memory));
    return ratel::cli::report(text, static_cast<int>(ratel::ErrorKind::usage));
  }
}
