#include "io/tensorboard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <concepts>
#include <filesystem>

#include "core/error.h"
#include "core/text.h"

namespace ratel::io {
namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  constexpr uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, its bits reversed
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < table.size(); ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}();

/// As TFRecords have it: a checksum of data that itself holds checksums should not look like one.
uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8; }

template <std::unsigned_integral T>
void put_fixed(std::string& out, T value) {
  for (size_t byte = 0; byte < sizeof value; ++byte) out += static_cast<char>((value >> (8 * byte)) & 0xff);
}

/// Protobuf's wire format, as far as events need it. Source: protobuf.dev, "Encoding".
class Message {
 public:
  Message& integer(uint32_t field, int64_t value) {
    key(field, 0);
    varint(static_cast<uint64_t>(value));
    return *this;
  }
  Message& real(uint32_t field, double value) {
    key(field, 1);
    put_fixed(bytes_, std::bit_cast<uint64_t>(value));
    return *this;
  }
  Message& small_real(uint32_t field, float value) {
    key(field, 5);
    put_fixed(bytes_, std::bit_cast<uint32_t>(value));
    return *this;
  }
  Message& bytes(uint32_t field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(uint32_t field, const Message& value) { return bytes(field, value.bytes_); }
  [[nodiscard]] const std::string& done() const { return bytes_; }

 private:
  void key(uint32_t field, uint32_t type) { varint(field << 3 | type); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// The numbers of the fields in tensorflow/core/util/event.proto and
// framework/{summary,tensor,tensor_shape,types}.proto.
namespace event {
constexpr uint32_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace summary {
constexpr uint32_t kValue = 1, kTag = 1, kSimpleValue = 2, kTensor = 8, kMetadata = 9, kPluginData = 1, kPluginName = 1;
}
namespace tensor {
constexpr uint32_t kDType = 1, kShape = 2, kDim = 2, kSize = 1, kString = 8;
constexpr int64_t kStringType = 7;
}  // namespace tensor
constexpr uint32_t kStatus = 1;
constexpr int64_t kStart = 1;

Message event_at(int64_t step) {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  Message event;
  event.real(event::kWallTime, now.count()).integer(event::kStep, step);
  return event;
}

std::string new_path(const std::string& folder) {
  int64_t number =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  for (const std::string& path : paths_in(folder)) {
    const std::string name = std::filesystem::path(path).filename();
    if (!name.starts_with(kPrefix)) continue;
    const auto there = to_number<int64_t>(std::string_view(name).substr(kPrefix.size()));
    if (there) number = std::max(number, *there + 1);  // a clock that went back must not change the order
  }
  return concat_text(folder, '/', kPrefix, number);
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xffffffff;
  for (const char byte : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xff];
  return ~crc;
}

EventFile::EventFile(const std::string& folder, int64_t first_step)
    : file_(new_path(folder), OutputFile::Mode::exclusive) {
  write(event_at(0).bytes(event::kFileVersion, "brain.Event:2").done());
  write(event_at(first_step).message(event::kSessionLog, Message().integer(kStatus, kStart)).done());
}

void EventFile::scalars(int64_t step, std::span<const Scalar> values) {
  Message all;
  for (const Scalar& one : values)
    all.message(
        summary::kValue,
        Message().bytes(summary::kTag, one.tag).small_real(summary::kSimpleValue, static_cast<float>(one.value)));
  write(event_at(step).message(event::kSummary, all).done());
}

void EventFile::text(int64_t step, std::string_view tag, std::string_view markdown) {
  const Message plugin = Message().message(summary::kPluginData, Message().bytes(summary::kPluginName, "text"));
  const Message shape = Message().message(tensor::kDim, Message().integer(tensor::kSize, 1));
  const Message content = Message()
                              .integer(tensor::kDType, tensor::kStringType)
                              .message(tensor::kShape, shape)
                              .bytes(tensor::kString, markdown);
  const Message value =
      Message().bytes(summary::kTag, tag).message(summary::kTensor, content).message(summary::kMetadata, plugin);
  write(event_at(step).message(event::kSummary, Message().message(summary::kValue, value)).done());
}

void EventFile::write(const std::string& event) {
  std::string record;
  put_fixed(record, static_cast<uint64_t>(event.size()));
  put_fixed(record, masked_crc(record));
  record += event;
  put_fixed(record, masked_crc(event));
  file_.write(record);
}

}  // namespace ratel::io
