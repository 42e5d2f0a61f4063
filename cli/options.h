#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ratel::cli {

/// `--section.key=value` on a command line: what it changes in a configuration, and to what.
struct Override {
  std::string key, value;
};

enum class Presence { optional, required };

/// The command line of one subcommand. The variables named in the calls hold the defaults, are shown as such in the
/// help, and hold what was given once parse() returns; they must outlive it.
class Options {
 public:
  Options(std::string_view command, std::string_view summary);
  ~Options();
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  /// Names are "--name"; `value` stands for the value in the help: "FILE", "N".
  void flag(const std::string& name, bool& target, const std::string& help);
  void text(const std::string& name, const std::string& value, std::string& target, const std::string& help,
            Presence presence = Presence::optional);
  /// The same, and it may be given again: one value each time.
  void texts(const std::string& name, const std::string& value, std::vector<std::string>& target,
             const std::string& help);
  void integer(const std::string& name, const std::string& value, int64_t& target, const std::string& help);
  /// One value or several, separated by commas; the list stays as it is where the option is not given.
  void integers(const std::string& name, const std::string& value, std::vector<int64_t>& target,
                const std::string& help);
  void real(const std::string& name, const std::string& value, double& target, const std::string& help);
  /// The arguments without a name: one or more, or any number where they are optional.
  void positional(const std::string& value, std::vector<std::string>& target, const std::string& help,
                  Presence presence = Presence::required);
  /// Lets through `--section.key=value`, in the order given.
  void overrides(std::vector<Override>& target);
  /// A paragraph, and shell lines, shown under the help.
  void note(std::string_view text);
  void example(std::string_view line);

  enum class Parsed { run, help };
  /// Reads the arguments that follow the subcommand's name. `help`: the help was asked for and printed to stdout.
  /// Throws Error(usage) for an unknown option (naming the nearest one there is), a missing or malformed value, an
  /// argument too many or too few.
  Parsed parse(std::span<const std::string> args);

  /// True where the command line named that option. After parse().
  [[nodiscard]] bool given(const std::string& name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ratel::cli
