#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "core/error.h"
#include "io/file.h"
#include "io/report.h"
#include "train/checkpoint.h"
#include "train/validation.h"

namespace ratel::train {
namespace {

namespace fs = std::filesystem;

/// What an ended process may have left half written under one of the names that a run folder uses; nobody else's file.
bool is_leftover(const fs::path& path) {
  const std::string name = path.filename();
  if (name == "config.toml.tmp" || name == "metrics.jsonl.tmp") return true;
  constexpr std::string_view kBegin = "step-", kEnd = ".tmp";
  if (name.size() <= kBegin.size() + kEnd.size() || !name.starts_with(kBegin) || !name.ends_with(kEnd)) return false;
  const std::string_view step = std::string_view(name).substr(kBegin.size(), name.size() - kBegin.size() - kEnd.size());
  return std::ranges::all_of(step, [](char c) { return c >= '0' && c <= '9'; });
}

bool only_leftovers(const std::string& folder) { return std::ranges::all_of(io::paths_in(folder), is_leftover); }

}  // namespace

std::string config_path(const std::string& run) { return run + "/config.toml"; }
std::string metrics_path(const std::string& run) { return run + "/metrics.jsonl"; }
std::string log_path(const std::string& run) { return run + "/log.txt"; }
std::string checkpoints_path(const std::string& run) { return run + "/checkpoints"; }
std::string checkpoint_path(const std::string& run, int64_t step) {
  return checkpoints_path(run) + "/step-" + std::to_string(step);
}

bool is_empty_run(const std::string& run) {
  return std::ranges::all_of(io::paths_in(run), [](const fs::path& path) {
    const std::string name = path.filename();
    return name == "lock" || is_leftover(path) || (name == "checkpoints" && only_leftovers(path));
  });
}

void remove_leftovers(const std::string& run) {
  for (const std::string& folder : {run, checkpoints_path(run)})
    for (const std::string& path : io::paths_in(folder))
      if (is_leftover(path)) {
        std::error_code error;
        fs::remove_all(path, error);
        if (error) fail_disk(path, "a leftover that cannot be removed: ", error.message());
      }
}

RunLock::RunLock(const std::string& run) : run_(run) {
  std::error_code error;
  fs::create_directories(run, error);
  if (error) fail_disk(run, "the run folder cannot be made: ", error.message());
  const std::string path = run + "/lock";
  descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_disk(path, "not opened: ", io::reason(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    std::array<char, 32> holder{};
    const ssize_t length = ::pread(descriptor_, holder.data(), holder.size() - 1, 0);
    ::close(descriptor_);
    if (code != EWOULDBLOCK) fail_disk(path, "not locked: ", io::reason(code));
    fail(run, ": process ", length > 0 ? holder.data() : "?", " is training in this run folder\nhint: wait until it ",
         "ends, or choose another folder");
  }
  folder_ = ::open(run.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // The number only serves the message above: that it may not be written is no reason to stop.
  const std::string self = std::to_string(::getpid());
  if (::ftruncate(descriptor_, 0) == 0 && ::pwrite(descriptor_, self.data(), self.size(), 0) < 0) errno = 0;
}

RunLock::~RunLock() {
  ::close(descriptor_);
  if (folder_ >= 0) ::close(folder_);
}

void RunLock::check_folder() const {
  if (folder_ >= 0 && !io::is_same_file(folder_, run_))  // without a descriptor there is nothing to tell by
    fail_disk(run_,
              "the run folder was moved, removed or replaced while the run was in it\nhint: where it is now, "
              "--resume goes on from its newest checkpoint");
}

std::optional<std::string> run_of_best(const std::string& path) {
  fs::path named(path);
  if (!named.has_filename()) named = named.parent_path();  // after a slash
  if (named.filename() != "best" || io::path_exists(path)) return {};
  return named.has_parent_path() ? named.parent_path().string() : ".";
}

std::string resolve_model_dir(const std::string& path, const Warn& warn) {
  if (path.size() > 1 && path.ends_with('/')) return resolve_model_dir(path.substr(0, path.size() - 1), warn);
  if (const auto run = run_of_best(path)) {
    if (!io::path_exists(checkpoints_path(*run))) fail_input(path, "expected RUN/best, found no checkpoints in ", *run);
    const auto best = best_checkpoint(*run, warn);
    if (!best)
      fail_input(path, "expected a checkpoint that was validated, found none\nhint: train with --validation FILE.bin ",
                 "and --train.keep_best=true; ", *run, " itself names the newest checkpoint");
    return best->path;
  }
  if (io::path_exists(path + "/MANIFEST.json")) verify_checkpoint(path);
  if (io::path_exists(path + "/config.json")) return path;
  if (!io::path_exists(path)) fail_input(path, "expected a model folder, a checkpoint or a run folder, found nothing");
  if (!io::path_exists(checkpoints_path(path)))
    fail_input(path,
               "expected a model folder, a checkpoint or a run folder, found neither config.json nor "
               "checkpoints in it");
  const auto newest = newest_checkpoint(path, warn);
  if (!newest) fail_input(path, "this run has made no checkpoint yet");
  return newest->path;
}

}  // namespace ratel::train
