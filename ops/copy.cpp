#include "ops/copy.h"

#include <optional>

#include "autograd/node.h"
#include "core/device_memory.h"
#include "core/op_scope.h"

namespace ratel {
namespace {

/// Both on one device.
void copy_elements(const Tensor& into, const Tensor& from) {
  const CopyArgs args{into.layout(), from.layout(),          into.dtype(),
                      from.dtype(),  into.storage()->data(), from.storage()->data()};
  if constexpr (kHasCuda)
    if (into.device().is_cuda()) return cuda::copy(args, current_stream(into.device()));
  cpu::copy(args);
}

/// In x's own dtype where no other is given.
Tensor copied(const Tensor& x, std::optional<DType> wanted, const char* name) {
  const OpScope scope(name);
  const DType dtype = wanted.value_or(x.dtype());
  Tensor out = empty(x.shape(), dtype, x.device());
  copy_elements(out, x);
  if (!is_float(dtype) || !is_float(x.dtype())) return out;
  return record(out, name, {x},
                [from = x.dtype()](const Tensor& grad, const Needs&) -> Grads { return {to(grad, from)}; });
}

}  // namespace

Tensor contiguous(const Tensor& x) { return x.defined() && x.is_contiguous() ? x : copied(x, {}, "contiguous"); }

Tensor clone(const Tensor& x) { return copied(x, {}, "clone"); }

Tensor to(const Tensor& x, DType dtype) { return x.defined() && x.dtype() == dtype ? x : copied(x, dtype, "to"); }

Tensor to(const Tensor& x, Device device) {
  if (x.defined() && x.device() == device) return x;
  const OpScope scope("to");
  const Tensor out = moved_to(contiguous(detach(x)), device);
  return record(out, "to", {x},
                [from = x.device()](const Tensor& grad, const Needs&) -> Grads { return {to(grad, from)}; });
}

void copy_into(const Tensor& into, const Tensor& from) {
  const OpScope scope("copy_into");
  check(into.shape() == from.shape(), "copy_into: expected shape ", into.shape(), ", found ", from.shape());
  check(is_leaf(into), "copy_into: the tensor of shape ", into.shape(), " was made by an op and cannot be changed");
  check(into.layout().is_injective(), "copy_into: elements of the target of shape ", into.shape(),
        " share their place");
  const bool shared = into.storage() == from.storage(),
             as_it_lies = into.dtype() == from.dtype() && into.is_contiguous() && from.is_contiguous();
  if (into.device() != from.device() && as_it_lies)
    copy_bytes(into.data(), into.device(), from.data(), from.device(),
               static_cast<size_t>(into.numel()) * size_of(into.dtype()));
  else
    copy_elements(into, shared ? clone(detach(from)) : to(detach(from), into.device()));
  into.storage()->bump_version();
}

}  // namespace ratel
