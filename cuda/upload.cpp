// Copies beside the work of other streams, on a GPU and on the twin.

#include "core/upload.h"

#include <memory>

#include "cuda/runtime.h"

namespace ratel::cuda {
namespace {

struct OpenUpload {
  explicit OpenUpload(int device) : stream(device), copied(device), released(device) {}
  OwnedStream stream;
  Event copied, released;
};

OpenUpload& of(void* upload) { return *static_cast<OpenUpload*>(upload); }

}  // namespace

void* open_upload(Stream after) {
  auto upload = std::make_unique<OpenUpload>(after.device);
  upload_release(upload.get(), after);
  upload->copied.record(upload->stream.get());
  return upload.release();
}

void close_upload(void* upload) noexcept {
  const std::unique_ptr<OpenUpload> owned(static_cast<OpenUpload*>(upload));
  try {
    if (owned != nullptr) owned->copied.synchronize();
  } catch (const Error&) {
    // The device is lost: the next call that can throw says so.
  }
}

void upload_copy(void* upload, void* into, const void* from, size_t bytes) {
  OpenUpload& open = of(upload);
  start_copy_to_device(into, from, bytes, open.stream.get());
  open.copied.record(open.stream.get());
}

void upload_wait(void* upload) { of(upload).copied.synchronize(); }

void upload_arrive(void* upload, Stream stream) { of(upload).copied.wait(stream); }

void upload_release(void* upload, Stream stream) {
  of(upload).released.record(stream);
  of(upload).released.wait(of(upload).stream.get());
}

}  // namespace ratel::cuda
