#include "core/stream.h"

#include <vector>

#include "core/error.h"

namespace ratel {
namespace {

Stream& slot(int device) {
  check(device >= 0, "stream: expected a device from 0 on, found ", device);
  thread_local std::vector<Stream> streams;
  while (streams.size() <= static_cast<size_t>(device)) streams.push_back({nullptr, static_cast<int>(streams.size())});
  return streams[static_cast<size_t>(device)];
}

}  // namespace

Stream current_stream(Device device) { return slot(device.index); }

StreamGuard::StreamGuard(Stream stream) : previous_(slot(stream.device)) { slot(stream.device) = stream; }

StreamGuard::~StreamGuard() { slot(previous_.device) = previous_; }

}  // namespace ratel
