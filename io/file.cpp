#include "io/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "io/report.h"

namespace ratel::io {
namespace {

template <class Call>
auto retry_interrupted(Call&& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

/// Closes a descriptor that was only read, or that an error has made useless.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return value_; }

 private:
  int value_;
};

void sync_descriptor(int descriptor, const std::string& path) {
  if (retry_interrupted([&] { return ::fsync(descriptor); }) != 0)
    fail_disk(path, "not brought to the disk: ", reason(errno));
}

std::filesystem::file_status status_of(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::status_known(status)) fail_input(path, "not looked up: ", error.message());
  return status;
}

/// Throws for an error of reading: what the process has no room for says nothing of the file.
[[noreturn]] void fail_to_read(const std::string& path, std::string_view what, int code) {
  const bool is_short_of = code == ENOMEM || code == EMFILE || code == ENFILE;
  throw Error(concat_text(path, ": ", what, ": ", reason(code)), is_short_of ? ErrorKind::memory : ErrorKind::input);
}

/// A regular file, open for reading, and its size.
struct Opened {
  Descriptor file;
  size_t size = 0;
  explicit Opened(const std::string& path)
      // O_NONBLOCK: opening a pipe that nobody writes to must not wait.
      : file(retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); })) {
    if (file.get() < 0) fail_to_read(path, "not opened", errno);
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) fail_to_read(path, "not read", errno);
    if (!S_ISREG(status.st_mode))
      fail_input(path, "expected a regular file, found ", S_ISDIR(status.st_mode) ? "a folder" : "a special file");
    size = static_cast<size_t>(status.st_size);
  }
};

std::string parent_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

}  // namespace

MappedFile MappedFile::open(const std::string& path, Mapping mapping) {
  const Opened opened(path);
  MappedFile result;
  result.path_ = path;
  const size_t size = opened.size;
  if (size == 0) {
    result.owner_ = std::make_shared<char>();
    return result;
  }
  const int protection = mapping == Mapping::private_copy ? PROT_READ | PROT_WRITE : PROT_READ;
  void* data = ::mmap(nullptr, size, protection, MAP_PRIVATE | MAP_NORESERVE, opened.file.get(), 0);
  if (data == MAP_FAILED) fail_to_read(path, "not mapped into memory", errno);
  result.owner_ = std::shared_ptr<void>(data, [size](void* mapped) { ::munmap(mapped, size); });
  result.bytes_ = {static_cast<const std::byte*>(data), size};
  return result;
}

void read_file(const std::string& path, const std::function<void(std::span<const std::byte> piece)>& f) {
  const Opened opened(path);
  std::vector<std::byte> piece(size_t{1} << 20);
  while (true) {
    const ssize_t length = retry_interrupted([&] { return ::read(opened.file.get(), piece.data(), piece.size()); });
    if (length < 0) fail_to_read(path, "not read", errno);
    if (length == 0) return;
    f(std::span(piece).first(static_cast<size_t>(length)));
  }
}

OutputFile::OutputFile(std::string path, Mode mode) : path_(std::move(path)) {
  constexpr int kAlways = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY;
  // Neither a pipe that nobody reads, which would block, nor a link's target.
  const int flags = kAlways | (mode == Mode::append ? O_APPEND : O_NONBLOCK | O_NOFOLLOW);
  const auto open_it = [&] {
    descriptor_ = retry_interrupted([&] { return ::open(path_.c_str(), flags, 0666); });
    if (descriptor_ < 0) fail_disk(path_, "not opened for writing: ", reason(errno));
  };
  const auto give_up = [&](const std::string& why) {
    close_all();
    fail_disk(path_, why);
  };
  open_it();
  if (mode == Mode::append) return;
  for (int tries = 1; !lock_it(); ++tries) {
    // Who had it before has renamed it in the meantime.
    if (tries == 100) give_up("not opened for writing: it is another file each time");
    close_all();
    open_it();
  }
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) give_up("expected a regular file, or none");
  lock_ = ::fcntl(descriptor_, F_DUPFD_CLOEXEC, 0);  // close() does not end the lock then
  if (lock_ < 0 || retry_interrupted([&] { return ::ftruncate(descriptor_, 0); }) != 0)
    give_up("not opened for writing: " + reason(errno));
}

bool OutputFile::lock_it() {
  // A file system without locks is taken as it is.
  if (retry_interrupted([&] { return ::flock(descriptor_, LOCK_EX | LOCK_NB); }) == 0)
    return is_same_file(descriptor_, path_);
  if (errno != EWOULDBLOCK) return true;
  close_all();
  fail_disk(path_, "it is being written already");
}

OutputFile::~OutputFile() { close_all(); }

void OutputFile::close_all() {
  for (int* each : {&descriptor_, &lock_})
    if (*each >= 0) ::close(std::exchange(*each, -1));
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = retry_interrupted([&] { return ::write(descriptor_, bytes.data(), bytes.size()); });
    if (written < 0) fail_disk(path_, "not written: ", reason(errno));
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void OutputFile::sync() { sync_descriptor(descriptor_, path_); }

void OutputFile::truncate(uint64_t size) {
  const auto length = static_cast<off_t>(size);
  if (retry_interrupted([&] { return ::ftruncate(descriptor_, length); }) != 0 ||
      ::lseek(descriptor_, length, SEEK_SET) < 0)
    fail_disk(path_, "not shortened: ", reason(errno));
}

void OutputFile::close() {
  // Linux closes the descriptor even where it reports EINTR.
  const int result = ::close(std::exchange(descriptor_, -1));
  if (result != 0 && errno != EINTR) fail_disk(path_, "not closed: ", reason(errno));
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), file_(path_ + ".tmp", OutputFile::Mode::exclusive) {}

AtomicFile::~AtomicFile() {
  if (state_ != State::committed) ::unlink(file_.path().c_str());
}

void AtomicFile::prepare() {
  file_.sync();
  file_.close();
  state_ = State::prepared;
}

void AtomicFile::commit() {
  if (state_ == State::open) prepare();
  if (std::rename(file_.path().c_str(), path_.c_str()) != 0)
    fail_disk(path_, "not renamed from ", file_.path(), ": ", reason(errno));
  state_ = State::committed;
  fsync_directory(parent_of(path_));
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail_disk(path, "not removed: ", reason(errno));
}

bool is_same_file(int descriptor, const std::string& path) {
  struct stat held {};
  struct stat there {};
  return ::fstat(descriptor, &held) == 0 && ::stat(path.c_str(), &there) == 0 && held.st_dev == there.st_dev &&
         held.st_ino == there.st_ino;
}

bool path_exists(const std::string& path) { return std::filesystem::exists(status_of(path)); }

bool is_folder(const std::string& path) { return std::filesystem::is_directory(status_of(path)); }

std::vector<std::string> paths_in(const std::string& folder) {
  std::vector<std::string> paths;
  if (!is_folder(folder)) return paths;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    paths.push_back(at->path().string());
  if (error) fail_input(folder, "the folder is not read: ", error.message());
  return paths;
}

std::string path_inside(const std::string& folder, std::string_view name) {
  std::string path = folder + '/' + std::string(name);
  std::error_code missing, dangling;
  const auto home = std::filesystem::canonical(folder, missing), there = std::filesystem::canonical(path, dangling);
  if (missing || dangling) return path;  // whoever opens it says what is wrong
  if (std::mismatch(home.begin(), home.end(), there.begin(), there.end()).first != home.end())
    fail_input(path, "expected a file of this folder, found a link that leads out of it, to ", there.string());
  return path;
}

std::string read_text_file(const std::string& path, size_t limit) {
  const MappedFile file = MappedFile::open(path);
  if (file.bytes().size() > limit)
    fail_input(path, "too long; expected at most ", limit, " bytes, found ", file.bytes().size());
  return std::string(file.text());
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(const std::string& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

void fsync_directory(const std::string& path) {
  const Descriptor folder(retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY); }));
  if (folder.get() < 0) fail_disk(path, "not opened: ", reason(errno));
  sync_descriptor(folder.get(), path);
}

uint64_t free_space(const std::string& path) {
  struct statvfs status {};
  for (std::string place = path;; place = parent_of(place)) {
    if (::statvfs(place.c_str(), &status) == 0) return uint64_t{status.f_bavail} * status.f_frsize;
    if (errno != ENOENT || place == "." || place == parent_of(place))
      fail_input(path, "free space not known: ", reason(errno));
  }
}

void require_free_space(const std::string& path, uint64_t bytes, std::string_view need, std::string_view hint) {
  constexpr uint64_t kHeaders = 1 << 20;
  const uint64_t needed = bytes + std::min(kHeaders, ~bytes), free = free_space(path);
  if (free < needed)
    fail_disk(path, need, ' ', needed, " bytes, found ", free, " free", hint.empty() ? "" : "\nhint: ", hint);
}

}  // namespace ratel::io
