#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"

namespace ratel {

struct GradcheckOptions {
  double eps = 1e-6;                ///< how far an element is moved to either side
  double atol = 1e-5, rtol = 1e-3;  ///< a gradient may be off by atol + rtol |difference|
  int64_t samples = 40;  ///< at most so many elements of an input, drawn at random; of no more than these, each
};

/// Compares the gradients of f at `inputs` with central differences, for the tests of an op:
///
///     gradcheck([](const std::vector<Tensor>& in) { return swiglu(in[0], in[1]); }, {gate, up});
///
///   f        a function of its arguments alone, the same at every call, that returns f64 of any shape
///   inputs   those of f64 are checked, of any layout and device; what is of an integer dtype, or undefined, is passed
///            on as it is. f is given copies, in the same layouts: what the inputs hold is not touched
///
/// under a RANDOM cotangent: the sum of an output's elements, say, would let the zero gradient of a softmax pass.
/// Checks besides that the gradient of each input alone is that of all together, to 1e-12 of the largest, and that
/// inputs that want no gradient get none.
///
/// Throws Error naming the input, the element furthest off, and both numbers; where no gradient arrives; and where
/// there is nothing to check, or f or an input is of f32 or bf16, whose differences are rounding, or elements of an
/// input share memory.
void gradcheck(const std::function<Tensor(const std::vector<Tensor>&)>& f, const std::vector<Tensor>& inputs,
               const GradcheckOptions& options = {});

}  // namespace ratel
