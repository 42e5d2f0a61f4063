#pragma once

#include "core/stream.h"
#include "core/tensor.h"

namespace ratel {

/// An uninitialised, contiguous tensor on the CPU whose memory a GPU reads by itself (page-locked), for Upload. Throws
/// Error(memory), and Error where `reader` is no GPU that is there.
Tensor empty_pinned(const Shape& shape, DType dtype, Device reader);

/// Copies from the host to a GPU that go on beside both: in a stream of their own.
///
///   Upload upload(device);
///   upload.wait();               // the host: what was copied last has been read, and `host` may be written again
///   ... write host ...
///   upload.copy(there, host);    // returns at once
///   upload.arrive();             // the current stream: what is put into it from now on finds `there` filled
///   ... read there ...
///   upload.release();            // the current stream: later copies follow what is in it now
///
/// The tensors must outlive the upload, whose destructor waits.
class Upload {
 public:
  /// Copies follow what is in the current stream now. Throws Error where `device` is no GPU that is there.
  explicit Upload(Device device);
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  /// Contiguous tensors of one shape and dtype, `from` of empty_pinned() and `into` on the device. Counts as a change
  /// of `into`.
  void copy(const Tensor& into, const Tensor& from) const;
  void wait() const;
  void arrive() const;
  void release() const;

 private:
  Device device_;
  void* upload_ = nullptr;
};

/// Declared here and defined in cuda/, as in core/device_memory.h.
namespace cuda {
void* allocate_pinned(size_t bytes, int device);  ///< null where there are none left
void release_pinned(void* pointer) noexcept;
void* open_upload(Stream after);
void close_upload(void* upload) noexcept;
void upload_copy(void* upload, void* into, const void* from, size_t bytes);
void upload_wait(void* upload);
void upload_arrive(void* upload, Stream stream);
void upload_release(void* upload, Stream stream);
}  // namespace cuda

}  // namespace ratel
