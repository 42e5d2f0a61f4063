#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "test/support/compare.h"

namespace ratel::test {

using TensorFunction = std::function<Tensor(const std::vector<Tensor>&)>;

/// ops/gradcheck.h on the CPU, as one check that says `what` failed.
void gradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs, const std::string& what,
               int64_t samples = 40);

/// Output and gradients of f at `inputs` under the cotangent `grad` (drawn from seed 99 where undefined), computed on
/// `device` and brought back.
struct Gradients {
  Tensor out;
  std::vector<Tensor> grads;
};
Gradients gradients(const TensorFunction& f, const std::vector<Tensor>& inputs, const Tensor& grad = {},
                    Device device = kCpu);

/// Output and gradients of f on every GPU against those on the CPU, in f64: for ops whose definition a test spells out
/// on the CPU. Inputs are copied as they are, strided ones into order.
void check_gradients_on_gpus(const TensorFunction& f, const std::vector<Tensor>& inputs, const std::string& what,
                             double tolerance = 1e-12);

/// The kernel against its composed reference, forward and every gradient: within `tolerance` of the largest magnitude
/// in f64; in f32 and bf16 by the 2x rule against the reference in f64 on the same (rounded) inputs. The kernel runs on
/// every device of this machine, the reference on the CPU. Cases without a GPU, or an op without a CUDA kernel, are
/// counted: test/support/devices.h.
void check_against_reference(const TensorFunction& op, const TensorFunction& reference,
                             const std::vector<Tensor>& inputs, const std::string& what, double tolerance = 1e-11);

/// The 2x rule alone, in one dtype and on every GPU: for kernels that take no other. `tail` is that of the gradients.
void check_rounding_on_gpus(const TensorFunction& op, const TensorFunction& reference,
                            const std::vector<Tensor>& inputs, DType dtype, const std::string& what,
                            Tail tail = Tail::bounded);

}  // namespace ratel::test
