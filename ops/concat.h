#pragma once

#include "core/tensor.h"

namespace ratel {

/// Tensors one after the other along an axis.
///
///   parts    at least one; the same dtype, rank and, except along `axis`, sizes; any layout
///   returns  contiguous
///
/// Any dtype; gradients: every part. Throws Error where they do not fit.
Tensor concat(const std::vector<Tensor>& parts, int axis);

/// Tensors of one shape along a new axis of the result.
Tensor stack(const std::vector<Tensor>& parts, int axis);

}  // namespace ratel
