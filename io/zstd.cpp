#include <zstd.h>

#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "io/byte_stream.h"
#include "io/report.h"

namespace ratel::io {
namespace {

constexpr size_t kInputBytes = size_t{1} << 16;

class ZstdStream : public ByteStream {
 public:
  explicit ZstdStream(std::unique_ptr<ByteStream> source)
      : source_(std::move(source)), state_(ZSTD_createDStream()), bytes_(kInputBytes) {
    if (!state_) throw std::bad_alloc();
  }

  size_t read(std::span<std::byte> out) override {
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    while (to.pos == 0 && to.size > 0) {
      // What a full buffer held back comes without more input.
      if (input_.pos == input_.size && !has_more_ && !refill()) return 0;
      const size_t result = ZSTD_decompressStream(state_.get(), &to, &input_);
      if (ZSTD_isError(result) != 0)
        fail_at(path(), position(), "damaged zstd data; expected a frame, found: ", ZSTD_getErrorName(result));
      is_between_ = result == 0;
      has_more_ = !is_between_ && to.pos == to.size;
    }
    return to.pos;
  }
  [[nodiscard]] uint64_t position() const override { return source_->position() - (input_.size - input_.pos); }
  [[nodiscard]] bool interrupted() const override { return source_->interrupted(); }
  [[nodiscard]] const std::string& path() const override { return source_->path(); }

 private:
  /// False at the end of the source, which must be that of a frame.
  bool refill() {
    const size_t count = source_->read(bytes_);
    input_ = {bytes_.data(), count, 0};
    if (count > 0) return true;
    if (!source_->interrupted() && !is_between_)
      fail_at(path(), position(), "zstd data ends early; expected more of a frame, found the end of the file");
    return false;
  }

  struct Free {
    void operator()(ZSTD_DStream* state) const { ZSTD_freeDStream(state); }
  };
  std::unique_ptr<ByteStream> source_;
  std::unique_ptr<ZSTD_DStream, Free> state_;
  std::vector<std::byte> bytes_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  bool is_between_ = false;  // after the end of a frame
  bool has_more_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> unzstd(std::unique_ptr<ByteStream> stream) {
  return std::make_unique<ZstdStream>(std::move(stream));
}

}  // namespace ratel::io
