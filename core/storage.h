#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/stream.h"

namespace ratel {

/// A block of bytes that tensors share. Neither copied nor moved: tensors hold it by shared_ptr.
class Storage {
 public:
  /// Uninitialised bytes on `device`. Throws Error(memory), and Error where there is no such device.
  Storage(size_t bytes, Device device);
  /// Bytes owned by somebody else, who is kept alive by `owner` (a mapped file, for example).
  Storage(void* data, size_t bytes, std::shared_ptr<void> owner);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  /// An address on the device: only the CPU's may be read through.
  [[nodiscard]] void* data() const { return data_; }
  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] Device device() const { return device_; }
  /// Counts in-place writes, so that a tensor saved for backward is known to be unchanged.
  [[nodiscard]] uint64_t version() const { return version_; }
  void bump_version() { ++version_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  Device device_;
  Stream stream_;  // of a GPU: where the bytes were asked for, and where they are given back
  uint64_t version_ = 0;
  std::shared_ptr<void> owner_;
};

}  // namespace ratel
