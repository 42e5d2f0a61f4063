#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/layout.h"
#include "core/storage.h"

namespace ratel {

struct AutogradMeta;  // autograd/node.h: who made this tensor, whether it wants a gradient, and the gradient

struct TensorImpl {
  std::shared_ptr<Storage> storage;
  Layout layout;
  DType dtype = DType::f32;
  std::shared_ptr<AutogradMeta> autograd;
};

/// A nullable handle on an n-dimensional array. Copying copies the handle; views are new handles on the same storage.
/// Every accessor throws Error on an undefined tensor, and names the op at work (core/op_scope.h). Not safe to modify
/// from two threads at once.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(std::shared_ptr<TensorImpl> impl) : impl_(std::move(impl)) {}

  [[nodiscard]] bool defined() const { return impl_ != nullptr; }
  [[nodiscard]] const Shape& shape() const { return impl().layout.shape; }
  [[nodiscard]] int64_t dim(int axis) const { return impl().layout.shape[axis]; }
  [[nodiscard]] int rank() const { return impl().layout.shape.rank(); }
  [[nodiscard]] int64_t numel() const { return impl().layout.shape.numel(); }
  [[nodiscard]] const Layout& layout() const { return impl().layout; }
  /// Distance between neighbours along an axis, in elements.
  [[nodiscard]] int64_t stride(int axis) const { return impl().layout.stride(axis); }
  [[nodiscard]] bool is_contiguous() const { return impl().layout.is_contiguous(); }
  [[nodiscard]] DType dtype() const { return impl().dtype; }
  [[nodiscard]] Device device() const { return impl().storage->device(); }
  /// Address of the first element on its device (the layout's offset is applied): what kernels are given.
  [[nodiscard]] void* data() const {
    return static_cast<char*>(impl().storage->data()) + static_cast<size_t>(impl().layout.offset) * size_of(dtype());
  }
  /// The same, typed, on the CPU: to read, or to fill a tensor that nothing was computed from. The tape does not see
  /// what is written here; ops/copy.h has what it sees. Throws Error where T is not the dtype, or the tensor is on a
  /// GPU.
  template <class T>
  [[nodiscard]] T* data() const {
    check(!device().is_cuda(), "a tensor on ", device(), " was read on the CPU; to(x, kCpu) copies it");
    check(dtype_of<T>() == dtype(), "a tensor of ", dtype(), " was read as ", dtype_of<T>());
    return static_cast<T*>(data());
  }
  /// The only element, as a double. Throws Error where there are more or none.
  [[nodiscard]] double item() const;

  [[nodiscard]] const std::shared_ptr<Storage>& storage() const { return impl().storage; }
  [[nodiscard]] TensorImpl& impl() const {
    if (impl_ == nullptr) [[unlikely]]
      fail_undefined();
    return *impl_;
  }
  /// True where this handle is the only one on its tensor, and the tensor the only one on its storage.
  [[nodiscard]] bool solely_owned() const { return impl_.use_count() == 1 && impl_->storage.use_count() == 1; }
  friend bool is_same_tensor(const Tensor& a, const Tensor& b) { return a.impl_ == b.impl_; }

 private:
  [[noreturn]] static void fail_undefined();

  std::shared_ptr<TensorImpl> impl_;
};

/// A tensor of a store or a file, by its path or name.
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// An uninitialised, contiguous tensor.
Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = kCpu);
inline Tensor empty_like(const Tensor& x) { return empty(x.shape(), x.dtype(), x.device()); }

/// Another layout on the storage of `x`, without a gradient path. Throws Error where it reaches beyond the storage.
Tensor view_of(const Tensor& x, const Layout& layout);
/// The same elements without the gradient path.
inline Tensor detach(const Tensor& x) { return view_of(x, x.layout()); }

/// The elements of x on another device, in x's layout, without a gradient path; x itself where it is there already.
/// `to` in ops/copy.h is the same on the tape.
Tensor moved_to(const Tensor& x, Device device);

/// A tensor of these values in row-major order. Throws Error where their count is not the shape's.
template <class T>
Tensor from_vector(const std::vector<T>& values, const Shape& shape, DType dtype = dtype_of<T>(), Device device = kCpu);
/// The elements in row-major order, converted to T; from a GPU by copying.
template <class T>
std::vector<T> to_vector(const Tensor& x);

/// Writes the elements as "[[1, 2.5], [3, 4]]", to four significant digits, a line for each row; of an axis longer than
/// 12 the first and last five. "undefined" where there is no tensor.
std::ostream& operator<<(std::ostream& out, const Tensor& x);

template <class T>
Tensor from_vector(const std::vector<T>& values, const Shape& shape, DType dtype, Device device) {
  check(static_cast<int64_t>(values.size()) == shape.numel(), "from_vector: shape ", shape, " needs ", shape.numel(),
        " values, found ", values.size());
  Tensor result = empty(shape, dtype);
  visit_any(dtype, [&]<class E>() {
    E* out = result.data<E>();
    for (const T& value : values) *out++ = convert_element<E>(value);
  });
  return moved_to(result, device);
}

template <class T>
std::vector<T> to_vector(const Tensor& x) {
  std::vector<T> values;
  values.reserve(static_cast<size_t>(x.numel()));
  const Tensor host = moved_to(x, kCpu);
  visit_any(x.dtype(), [&]<class E>() {
    const E* base = static_cast<const E*>(host.storage()->data());
    for_each_position(host.layout(), [&](int64_t position) { values.push_back(convert_element<T>(base[position])); });
  });
  return values;
}

}  // namespace ratel
