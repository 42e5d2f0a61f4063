#include <zlib.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "io/byte_stream.h"
#include "io/report.h"

namespace ratel::io {
namespace {

constexpr int kGzipFormat = 15 + 16;  // the largest window, and gzip's header and checksum around it
constexpr size_t kInputBytes = size_t{1} << 16;
constexpr size_t kMostAtOnce = size_t{1} << 30;  // zlib counts in 32 bits

class GzipStream : public ByteStream {
 public:
  explicit GzipStream(std::unique_ptr<ByteStream> source) : source_(std::move(source)) {
    if (inflateInit2(&state_, kGzipFormat) != Z_OK) throw std::bad_alloc();
  }
  ~GzipStream() override { inflateEnd(&state_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  size_t read(std::span<std::byte> out) override {
    const auto room = static_cast<uInt>(std::min(out.size(), kMostAtOnce));
    state_.next_out = reinterpret_cast<Bytef*>(out.data());
    state_.avail_out = room;
    while (state_.avail_out == room && room > 0) {
      if (state_.avail_in == 0 && !refill()) return 0;
      if (is_between_) {  // the next member; what was used of the last one counts no more
        inflateReset(&state_);
        is_between_ = false;
      }
      const int result = inflate(&state_, Z_NO_FLUSH);
      if (result == Z_MEM_ERROR) throw std::bad_alloc();
      if (result == Z_STREAM_END)
        is_between_ = true;
      else if (result != Z_OK && result != Z_BUF_ERROR)
        fail_at(path(), position(),
                "damaged gzip data; expected a member, found: ", state_.msg != nullptr ? state_.msg : "an error");
    }
    return room - state_.avail_out;
  }
  [[nodiscard]] uint64_t position() const override { return source_->position() - state_.avail_in; }
  [[nodiscard]] bool interrupted() const override { return source_->interrupted(); }
  [[nodiscard]] const std::string& path() const override { return source_->path(); }

 private:
  /// False at the end of the source, which must be that of a member.
  bool refill() {
    const size_t count = source_->read(input_);
    state_.next_in = reinterpret_cast<Bytef*>(input_.data());
    state_.avail_in = static_cast<uInt>(count);
    if (count > 0) return true;
    if (!source_->interrupted() && !is_between_)
      fail_at(path(), position(), "gzip data ends early; expected more of a member, found the end of the file");
    return false;
  }

  std::unique_ptr<ByteStream> source_;
  std::array<std::byte, kInputBytes> input_{};
  z_stream state_{};
  bool is_between_ = false;  // after the end of a member
};

}  // namespace

std::unique_ptr<ByteStream> gunzipped(std::unique_ptr<ByteStream> stream) {
  return std::make_unique<GzipStream>(std::move(stream));
}

}  // namespace ratel::io
