#include "core/storage.h"

#include <utility>

#include "core/error.h"
#include "core/memory.h"

namespace ratel {

Storage::Storage(size_t bytes, Device device) : bytes_(bytes), device_(device) {
  check(!device.is_cuda(), "a tensor on ", device, " was asked for, but this build computes on the CPU only");
  data_ = allocate_bytes(bytes);
}

Storage::Storage(void* data, size_t bytes, std::shared_ptr<void> owner)
    : data_(data), bytes_(bytes), owner_(std::move(owner)) {}

Storage::~Storage() {
  if (owner_ == nullptr) free_bytes(data_, bytes_);
}

}  // namespace ratel
