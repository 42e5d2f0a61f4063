#include "test/support/gradcheck.h"

#include <algorithm>
#include <cstdlib>

#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/gradcheck.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

namespace ratel::test {
namespace {

/// The same layout and values, wanting a gradient.
Tensor leaf_of(const Tensor& x, Device device) {
  if (!x.defined()) return x;
  const Tensor leaf = moved_to(detach(x), device);
  return is_float(x.dtype()) ? requires_grad(leaf) : leaf;
}

Tensor back(const Tensor& x) { return x.defined() ? moved_to(x, kCpu) : x; }

}  // namespace

Gradients gradients(const TensorFunction& f, const std::vector<Tensor>& inputs, const Tensor& grad_out, Device device) {
  std::vector<Tensor> leaves;
  for (const Tensor& input : inputs) leaves.push_back(leaf_of(input, device));
  Gradients result{f(leaves), {}};
  // An op may return a wider dtype than it takes: the mean loss of bf16 logits is f32.
  const DType dtype = result.out.dtype();
  const Tensor cotangent = grad_out.defined() ? to(grad_out, dtype) : randn(result.out.shape(), 99, dtype);
  backward(result.out, moved_to(cotangent, device));
  for (const Tensor& leaf : leaves)
    result.grads.push_back(leaf.defined() && is_float(leaf.dtype()) ? back(grad(leaf)) : Tensor());
  result.out = back(detach(result.out));
  return result;
}

void gradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs, const std::string& what, int64_t samples) {
  std::string found;
  try {
    ratel::gradcheck(f, inputs, {.samples = samples});
  } catch (const Error& error) {
    found = error.what();
  }
  BOOST_CHECK_MESSAGE(found.empty(), what << ": " << found);
}

namespace {

std::vector<Tensor> in_dtype(const std::vector<Tensor>& inputs, DType dtype) {
  std::vector<Tensor> result;
  for (const Tensor& x : inputs) result.push_back(x.defined() && is_float(x.dtype()) ? to(detach(x), dtype) : x);
  return result;
}

/// The inputs of draw n: those given for n = 0, else each value somewhere between itself and a sixteenth of it, which
/// leaves gates in [0, 1] and arguments of a logarithm positive.
std::vector<Tensor> drawn(const std::vector<Tensor>& inputs, uint64_t n) {
  std::vector<Tensor> result = inputs;
  Rng rng(n);
  for (Tensor& x : result)
    if (n > 0 && x.defined() && is_float(x.dtype())) {
      const Tensor nudged = detach(x) * random_uniform(x.shape(), rng, 1.0 / 16, 1, x.dtype());
      x = x.is_contiguous() ? nudged : scattered(nudged);
    }
  return result;
}

/// Draws that make 32 rows of 16 numbers or more, as far as they cost little, and 24 at least where they do: the
/// worst of a few rows is luck on both sides.
uint64_t draws_for(const Tensor& x) {
  if (x.numel() == 0 || x.numel() > 40000) return 1;
  if (x.numel() < 16) return static_cast<uint64_t>(std::min<int64_t>(256, int64_t{32} * 16 / x.numel()));
  const int64_t width = x.rank() == 0 ? 1 : x.dim(-1), rows = std::min(x.numel() / width, (x.numel() + 15) / 16);
  return static_cast<uint64_t>(std::max<int64_t>((31 + rows) / rows, x.numel() > 8192 ? 1 : 24));
}

void check_rounding(Device device, const TensorFunction& op, const TensorFunction& reference,
                    const std::vector<Tensor>& inputs, DType dtype, const Shape& out_shape, uint64_t draws,
                    const std::string& what, Tail tail = Tail::bounded) {
  RoundingErrors out;
  std::vector<RoundingErrors> grads(inputs.size());
  for (uint64_t draw = 0; draw < draws; ++draw) {
    const auto rounded = in_dtype(drawn(inputs, draw), dtype);
    const Tensor cotangent = randn(out_shape, 99 + draw, dtype);
    const Gradients oracle = gradients(reference, in_dtype(rounded, DType::f64), to(cotangent, DType::f64));
    const Gradients plain = gradients(reference, rounded, cotangent);
    const Gradients fast = gradients(op, rounded, cotangent, device);
    out.add(fast.out, plain.out, oracle.out);
    for (size_t i = 0; i < inputs.size(); ++i)
      if (oracle.grads[i].defined()) grads[i].add(fast.grads[i], plain.grads[i], oracle.grads[i], dtype);
  }
  const std::string name = what + ' ' + std::string(name_of(dtype));
  out.check(name + " forward");
  for (size_t i = 0; i < inputs.size(); ++i) grads[i].check(name + " gradient " + std::to_string(i), tail);
}

void check_on(Device device, const TensorFunction& op, const TensorFunction& reference,
              const std::vector<Tensor>& inputs, const std::string& what, double tolerance) {
  const Gradients exact = gradients(reference, inputs);
  const Gradients ours = gradients(op, inputs, {}, device);
  check_close(ours.out, exact.out, tolerance, what + " f64 forward");
  uint64_t draws = draws_for(exact.out);
  for (size_t i = 0; i < inputs.size(); ++i)
    if (exact.grads[i].defined()) {
      BOOST_REQUIRE_MESSAGE(ours.grads[i].defined(), what << ": no gradient of input " << i);
      check_close(ours.grads[i], exact.grads[i], tolerance, what + " f64 gradient " + std::to_string(i));
      draws = std::max(draws, draws_for(exact.grads[i]));
    }
  // The order of a block's threads shows in what is computed, not in how it is rounded.
  if (device.is_cuda() && std::getenv("RATEL_TWIN_ORDER") != nullptr) return;
  for (const DType dtype : {DType::f32, DType::bf16})
    check_rounding(device, op, reference, inputs, dtype, exact.out.shape(), draws, what);
}

}  // namespace

void check_gradients_on_gpus(const TensorFunction& f, const std::vector<Tensor>& inputs, const std::string& what,
                             double tolerance) {
  const Gradients expected = gradients(f, inputs);
  on_gpus([&](Device device) {
    const Gradients found = gradients(f, inputs, {}, device);
    check_close(found.out, expected.out, tolerance, what + " on cuda");
    for (size_t i = 0; i < inputs.size(); ++i) {
      BOOST_REQUIRE(found.grads[i].defined() == expected.grads[i].defined());
      if (found.grads[i].defined())
        check_close(found.grads[i], expected.grads[i], tolerance, what + " on cuda, gradient " + std::to_string(i));
    }
  });
}

void check_against_reference(const TensorFunction& op, const TensorFunction& reference,
                             const std::vector<Tensor>& inputs, const std::string& what, double tolerance) {
  for (const Device device : devices())
    if (!device.is_cuda()) check_on(device, op, reference, inputs, what, tolerance);
  on_gpus([&](Device device) { check_on(device, op, reference, inputs, what + " on cuda", tolerance); });
}

void check_rounding_on_gpus(const TensorFunction& op, const TensorFunction& reference,
                            const std::vector<Tensor>& inputs, DType dtype, const std::string& what, Tail tail) {
  const Shape out_shape = reference(inputs).shape();
  const uint64_t draws = draws_for(empty(out_shape, dtype));
  on_gpus([&](Device device) {
    check_rounding(device, op, reference, inputs, dtype, out_shape, draws, what + " on cuda", tail);
  });
}

}  // namespace ratel::test
