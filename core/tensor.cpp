#include "core/tensor.h"

#include "core/device_memory.h"
#include "core/op_scope.h"

namespace ratel {

void Tensor::fail_undefined() { fail(OpScope::current(), ": an undefined tensor was used"); }

Tensor empty(const Shape& shape, DType dtype, Device device) {
  int64_t bytes = 0;
  check(!__builtin_mul_overflow(shape.numel(), static_cast<int64_t>(size_of(dtype)), &bytes), "a tensor of shape ",
        shape, " has too many bytes");
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = std::make_shared<Storage>(static_cast<size_t>(bytes), device);
  impl->layout = Layout::contiguous(shape);
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

Tensor view_of(const Tensor& x, const Layout& layout) {
  bool inside = layout.offset >= 0;
  for (int axis = 0; axis < layout.shape.rank(); ++axis) inside = inside && layout.stride(axis) >= 0;
  check(inside &&
            layout.extent() * static_cast<int64_t>(size_of(x.dtype())) <= static_cast<int64_t>(x.storage()->bytes()),
        "view: shape ", layout.shape, " reaches beyond the storage of ", x.shape());
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = x.storage();
  impl->layout = layout;
  impl->dtype = x.dtype();
  return Tensor(std::move(impl));
}

Tensor moved_to(const Tensor& x, Device device) {
  if (x.device() == device) return x;
  // The stretch of storage between the first element and the last, gaps included.
  Layout layout = x.layout();
  layout.offset = 0;
  const auto bytes = static_cast<size_t>(layout.extent()) * size_of(x.dtype());
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = std::make_shared<Storage>(bytes, device);
  impl->layout = layout;
  impl->dtype = x.dtype();
  copy_bytes(impl->storage->data(), device, x.data(), x.device(), bytes);
  return Tensor(std::move(impl));
}

double Tensor::item() const {
  check(numel() == 1, "item: expected one element, found shape ", shape());
  return to_vector<double>(*this).front();
}

}  // namespace ratel
