#pragma once

#include "core/tensor.h"

namespace ratel {

/// What a tensor knows of its gradient. A leaf is a tensor no recorded op made: a parameter or an input.

/// Makes a leaf of a float dtype want a gradient (or not) and returns the same handle.
/// Throws Error for integer dtypes, and for tensors that an op made.
Tensor requires_grad(Tensor leaf, bool wanted = true);
/// True for leaves that want a gradient and for what was recorded from them.
bool needs_grad(const Tensor& x);
/// True where no recorded op made the tensor.
bool is_leaf(const Tensor& x);

/// The gradient accumulated by backward(): the shape of x, its dtype (f32 for a bf16 leaf); undefined before. A leaf's
/// shares memory with no other and with nothing that backward() was given.
Tensor grad(const Tensor& x);
/// Puts `value` in its place; an undefined one forgets the gradient. Throws Error where its shape or device is not that
/// of x, its dtype neither x's nor accumulate_dtype(x's), or it is on the tape itself.
void set_grad(const Tensor& x, Tensor value);
inline void zero_grad(const Tensor& x) { set_grad(x, {}); }
/// Asks backward() to keep the gradient of a tensor that an op made. Throws Error where x needs no gradient.
void retain_grad(const Tensor& x);

}  // namespace ratel
