#include "core/upload.h"

namespace ratel {

Tensor empty_pinned(const Shape& shape, DType dtype, Device reader) {
  check(reader.is_cuda(), "page-locked memory is read by a GPU, not by ", reader);
  check_present(reader);
  int64_t bytes = 0;
  check(!__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &bytes), "a tensor of shape ",
        shape, " has too many bytes");
  auto impl = std::make_shared<TensorImpl>();
  if constexpr (kHasCuda) {
    const auto size = static_cast<size_t>(bytes);
    std::shared_ptr<void> owner(cuda::allocate_pinned(size, reader.index), cuda::release_pinned);
    if (owner == nullptr && size > 0)
      throw Error(concat_text("out of page-locked memory: asked for ", size, " bytes"), ErrorKind::memory);
    void* const data = owner.get();
    impl->storage = std::make_shared<Storage>(data, size, std::move(owner));
  }
  impl->layout = Layout::contiguous(shape);
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

Upload::Upload(Device device) : device_(device) {
  check(device.is_cuda(), "an upload brings tensors to a GPU, not to ", device);
  check_present(device);
  if constexpr (kHasCuda) upload_ = cuda::open_upload(current_stream(device));
}

Upload::~Upload() {
  if constexpr (kHasCuda) cuda::close_upload(upload_);
}

void Upload::copy(const Tensor& into, const Tensor& from) const {
  check(into.shape() == from.shape() && into.dtype() == from.dtype() && into.is_contiguous() && from.is_contiguous() &&
            into.device() == device_ && from.device() == kCpu,
        "upload: expected contiguous tensors alike, to ", device_, " from the CPU; found ", into.dtype(), ' ',
        into.shape(), " on ", into.device(), " and ", from.dtype(), ' ', from.shape(), " on ", from.device());
  if constexpr (kHasCuda)
    cuda::upload_copy(upload_, into.data(), from.data(), static_cast<size_t>(into.numel()) * size_of(into.dtype()));
  into.storage()->bump_version();
}

void Upload::wait() const {
  if constexpr (kHasCuda) cuda::upload_wait(upload_);
}

void Upload::arrive() const {
  if constexpr (kHasCuda) cuda::upload_arrive(upload_, current_stream(device_));
}

void Upload::release() const {
  if constexpr (kHasCuda) cuda::upload_release(upload_, current_stream(device_));
}

}  // namespace ratel
