#pragma once

#include <string>
#include <vector>

#include "io/json.h"
#include "test/support/temporary_folder.h"

namespace ratel::test {

using Words = std::vector<std::string>;

/// A process that has ended. `code` is its exit code, or 128 + the signal that ended it.
struct Ended {
  int code = -1;
  std::string out, err;
};

/// The `ratel` binary of this build, started with these arguments; stdout and stderr go to files. Killed where it is
/// still running when this goes.
class Process {
 public:
  explicit Process(const Words& arguments, const std::string& stdout_path = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void send(int signal) const;
  Ended wait();
  /// True where the process has not ended yet.
  [[nodiscard]] bool is_running() const;
  /// What it has written to stderr so far.
  [[nodiscard]] std::string said() const;

 private:
  int pid_ = -1;
  std::string out_, err_;
};

/// Runs `ratel` to its end.
Ended run_ratel(const Words& arguments);
/// The same through the shell: "ulimit -f 1; $RATEL ...".
Ended shell(const std::string& command);
/// What a run that must succeed printed for --json. Throws Error where the exit code is not 0.
io::Json run_json(const Words& arguments);

/// What may stand on stderr before the error.
enum class Before { nothing, progress };
/// Checks the exit code, an empty stdout, and an error on stderr that holds `part`: one line "ratel: ...", and at most
/// a second, "hint: ...".
void check_failure(const Ended& ended, int code, const std::string& part, Before before = Before::nothing);
void check_fails(const Words& words, int code, const std::string& part, Before before = Before::nothing);

std::string read(const std::string& path);
void write(const std::string& path, const std::string& bytes);
/// Lines of English-like text, a function of the seed.
std::string prose(size_t bytes, uint64_t seed = 0);

/// A small training set, and the words that train on it in a moment; further ones override them.
struct Fixture {
  TemporaryFolder scratch;
  std::string data;
  explicit Fixture(size_t bytes = 6000);
  [[nodiscard]] Words training(const std::string& run, const Words& more = {}) const;
};

}  // namespace ratel::test
