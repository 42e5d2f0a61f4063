#include "test/cli/process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/test/unit_test.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "core/rng.h"

namespace ratel::test {
namespace {

namespace fs = std::filesystem;

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

void redirect(const std::string& path, int to) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (descriptor < 0 || dup2(descriptor, to) < 0) _exit(127);
  close(descriptor);
}

int start(const Words& words, const std::string& out, const std::string& err) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const int pid = fork();
  check(pid >= 0, "fork failed");
  if (pid == 0) {
    std::signal(SIGHUP, SIG_DFL);  // whatever the tests themselves were started with, nohup for one
    redirect(out, STDOUT_FILENO);
    redirect(err, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  return pid;
}

Words command(const Words& arguments) {
  Words words = {RATEL_BINARY};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

/// One folder for what processes print.
const TemporaryFolder& outputs() {
  static const TemporaryFolder scratch;
  return scratch;
}

std::string output_name(const char* what) {
  static int count = 0;
  return outputs() / (std::to_string(++count) + what);
}

}  // namespace

Process::Process(const Words& arguments, const std::string& stdout_path)
    : out_(stdout_path.empty() ? output_name(".out") : stdout_path), err_(output_name(".err")) {
  pid_ = start(command(arguments), out_, err_);
}

Process::~Process() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Process::send(int signal) const { kill(pid_, signal); }

Ended Process::wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return {code_of(status), fs::is_regular_file(out_) ? read(out_) : "", read(err_)};
}

bool Process::is_running() const {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

std::string Process::said() const { return read(err_); }

Ended run_ratel(const Words& arguments) { return Process(arguments).wait(); }

Ended shell(const std::string& command) {
  const std::string out = output_name(".out"), err = output_name(".err");
  setenv("RATEL", RATEL_BINARY, 1);
  int status = 0;
  waitpid(start({"/bin/bash", "-c", command}, out, err), &status, 0);
  return {code_of(status), read(out), read(err)};
}

io::Json run_json(const Words& arguments) {
  Words words = arguments;
  words.emplace_back("--json");
  const Ended ended = run_ratel(words);
  check(ended.code == 0, "ratel ", arguments.front(), " ended with ", ended.code, ": ", ended.err);
  check(ended.out.find('\n') + 1 == ended.out.size(), "expected one line of JSON, found ", ended.out);
  return io::parse_json(ended.out, "stdout");
}

void check_failure(const Ended& ended, int code, const std::string& part, Before before) {
  BOOST_TEST(ended.code == code, "code " << ended.code << ", expected " << code << ": " << ended.err);
  const size_t at = ended.err.rfind("ratel: ");
  BOOST_TEST_REQUIRE(at != std::string::npos, ended.err);
  BOOST_TEST((at == 0 || before == Before::progress), ended.err);
  const std::string message = ended.err.substr(at);
  const size_t line = message.find('\n');
  BOOST_TEST(message.find(part) != std::string::npos, "found '" << message << "', expected '" << part << "'");
  BOOST_TEST((line + 1 == message.size() || message.compare(line + 1, 6, "hint: ") == 0), message);
  BOOST_TEST(ended.out.empty(), ended.out);
}

void check_fails(const Words& words, int code, const std::string& part, Before before) {
  BOOST_TEST_CONTEXT(words.front() << " ... " << words.back()) { check_failure(run_ratel(words), code, part, before); }
}

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

std::string prose(size_t bytes, uint64_t seed) {
  constexpr std::array<const char*, 12> kWords = {"the ",   "house ", "and ",  "she ", "was ",   "not ",
                                                  "to be ", "found ", "there", ". ",   "which ", "he said\n"};
  Rng rng(seed);
  std::string text;
  while (text.size() < bytes) text += kWords[rng.below(kWords.size())];
  text.resize(bytes);
  return text;
}

Fixture::Fixture(size_t bytes) : data(scratch / "train.bin") {
  write(scratch / "text.txt", prose(bytes));
  run_json({"tokenize", scratch / "text.txt", "--output", data});
}

Words Fixture::training(const std::string& run, const Words& more) const {
  Words words = {"train",
                 "--data=" + data,
                 "--out=" + run,
                 "--model.layers=2",
                 "--model.channels=16",
                 "--model.heads=2",
                 "--data.seq_len=32",
                 "--data.batch_size=2",
                 "--train.steps=8",
                 "--train.sparse_dilation=8",
                 "--train.threads=1",
                 "--train.checkpoint_every=4"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace ratel::test
