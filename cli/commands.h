#pragma once

#include <span>
#include <string>

namespace ratel::cli {

/// The arguments after the subcommand's name.
using Arguments = std::span<const std::string>;

/// The subcommands. Each returns the exit code: 0, or signal_exit_code() where a signal cut it short, and throws
/// ratel::Error for everything else. With --json each prints one JSON object to stdout and logs to stderr.
int run_tokenize(Arguments args);
int run_train(Arguments args);
int run_adapt(Arguments args);
int run_eval(Arguments args);
int run_generate(Arguments args);
int run_needles(Arguments args);
int run_search(Arguments args);
int run_bench(Arguments args);
int run_convert(Arguments args);
int run_inspect(Arguments args);
int run_doctor(Arguments args);
int run_plot(Arguments args);

}  // namespace ratel::cli
