#include "io/byte_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "io/report.h"

namespace ratel::io {
namespace {

constexpr int kPollMilliseconds = 50;

class DescriptorStream : public ByteStream {
 public:
  DescriptorStream(const std::string& path, std::function<bool()> stop)
      : path_(path == "-" ? "stdin" : path), stop_(std::move(stop)) {
    // O_NONBLOCK: opening a pipe that nobody writes to yet must not wait where no signal can end it.
    descriptor_ = path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor_ < 0) fail_input(path_, "not opened: ", reason(errno));
    struct stat status {};
    const int known = ::fstat(descriptor_, &status);
    if (known != 0 || S_ISDIR(status.st_mode)) {
      const std::string what = known != 0 ? reason(errno) : "it is a folder";
      close();
      fail_input(path_, "not read: ", what);
    }
    waits_ = !S_ISREG(status.st_mode);
  }
  ~DescriptorStream() override { close(); }
  DescriptorStream(const DescriptorStream&) = delete;
  DescriptorStream& operator=(const DescriptorStream&) = delete;

  size_t read(std::span<std::byte> out) override {
    for (interrupted_ = false; !out.empty();) {
      if (waits_ && !wait()) return 0;
      const ssize_t count = ::read(descriptor_, out.data(), out.size());
      if (count >= 0) {
        position_ += static_cast<uint64_t>(count);
        return static_cast<size_t>(count);
      }
      if (errno != EINTR && errno != EAGAIN) fail_input(path_, "not read: ", reason(errno));
    }
    return 0;
  }
  [[nodiscard]] uint64_t position() const override { return position_; }
  [[nodiscard]] bool interrupted() const override { return interrupted_; }
  [[nodiscard]] const std::string& path() const override { return path_; }

 private:
  /// Returns when there is something to read, or the end; false where that was not waited for.
  bool wait() {
    for (pollfd state{descriptor_, POLLIN, 0};;) {
      if (stop_ && stop_()) {
        interrupted_ = true;
        return false;
      }
      const int ready = ::poll(&state, 1, kPollMilliseconds);
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) fail_input(path_, "not read: ", reason(errno));
    }
  }
  void close() const {
    if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
  }

  std::string path_;
  std::function<bool()> stop_;
  int descriptor_ = -1;
  bool waits_ = false, interrupted_ = false;
  uint64_t position_ = 0;
};

class MemoryStream : public ByteStream {
 public:
  MemoryStream(std::span<const std::byte> bytes, std::string path) : bytes_(bytes), path_(std::move(path)) {}

  size_t read(std::span<std::byte> out) override {
    const size_t count = std::min(out.size(), bytes_.size() - position_);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(position_), count, out.begin());
    position_ += count;
    return count;
  }
  [[nodiscard]] uint64_t position() const override { return position_; }
  [[nodiscard]] bool interrupted() const override { return false; }
  [[nodiscard]] const std::string& path() const override { return path_; }

 private:
  std::span<const std::byte> bytes_;
  std::string path_;
  size_t position_ = 0;
};

}  // namespace

std::unique_ptr<ByteStream> open_stream(const std::string& path, std::function<bool()> stop) {
  return std::make_unique<DescriptorStream>(path, std::move(stop));
}

std::unique_ptr<ByteStream> stream_of(std::span<const std::byte> bytes, std::string path) {
  return std::make_unique<MemoryStream>(bytes, std::move(path));
}

std::unique_ptr<ByteStream> decompressed(std::unique_ptr<ByteStream> stream, Compression compression) {
  if (compression == Compression::gzip) return gunzipped(std::move(stream));
  if (compression == Compression::zstd) return unzstd(std::move(stream));
  return stream;
}

}  // namespace ratel::io
