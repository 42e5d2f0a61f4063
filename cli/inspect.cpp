#include <algorithm>

#include "cli/commands.h"
#include "cli/describe.h"
#include "cli/inspect_gates.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/signals.h"

namespace ratel::cli {

int run_inspect(Arguments args) {
  if (std::ranges::find(args, "--gates") != args.end()) return run_inspect_gates(args);
  std::vector<std::string> paths;
  int64_t vocab_size = 0;
  bool json = false;
  Options options(
      "inspect",
      "Says what a path holds: a model folder, run folder or checkpoint, a .safetensors file, a checkpoint of\n"
      "PyTorch (.pth), a token file (.bin), a tokenizer (.model), metrics (.jsonl) or a configuration (.toml).");
  options.positional("DIR_OR_FILE", paths, "What to look at");
  options.integer("--vocab", "V", vocab_size,
                  "Of a token file that does not tell: ids are below it, and of 2 bytes up to 65536; 0: 65536");
  options.integer("--vocab-size", "V", vocab_size, "The same");
  options.flag("--json", json, "Print one JSON object; its member kind says what was found");
  options.example("ratel inspect runs/tiny");
  options.example("ratel inspect runs/tiny/checkpoints/step-500 --json");
  options.example("ratel inspect --gates runs/tiny   # what its recurrence does: see --gates --help");
  if (options.parse(args) == Options::Parsed::help) return 0;
  check(paths.size() == 1, "inspect: expected one path, found ", paths.size());

  check(vocab_size >= 0, "--vocab: expected 0 or more, found ", vocab_size);
  catch_signals();
  const io::Json description = describe(paths.front(), vocab_size == 0 ? std::nullopt : std::optional(vocab_size));
  if (stop_requested()) return signal_exit_code();
  if (json)
    print_json(description);
  else
    print(as_text(description));
  return 0;
}

}  // namespace ratel::cli
