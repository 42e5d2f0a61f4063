#include "test/support/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "test/support/compare.h"
#include "test/support/devices.h"

namespace ratel::test {
namespace {

/// The same layout and values, wanting a gradient or not.
Tensor leaf_of(const Tensor& x, bool wants, Device device = kCpu) {
  if (!x.defined()) return x;
  const Tensor leaf = moved_to(detach(x), device);
  return is_float(x.dtype()) ? requires_grad(leaf, wants) : leaf;
}

Tensor back(const Tensor& x) { return x.defined() ? moved_to(x, kCpu) : x; }

double dot(const Tensor& a, const Tensor& b) {
  const auto x = to_vector<double>(a), y = to_vector<double>(b);
  double total = 0;
  for (size_t i = 0; i < x.size(); ++i) total += x[i] * y[i];
  return total;
}

double& element(const Tensor& x, int64_t index) {
  double* found = nullptr;
  auto* base = static_cast<double*>(x.storage()->data());
  for_each_position(x.layout(), [&](int64_t position) {
    if (index-- == 0) found = base + position;
  });
  return *found;
}

}  // namespace

Gradients gradients(const TensorFunction& f, const std::vector<Tensor>& inputs, const Tensor& grad_out, Device device) {
  std::vector<Tensor> leaves;
  for (const Tensor& input : inputs) leaves.push_back(leaf_of(input, true, device));
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

void gradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs, const std::string& what, int samples) {
  constexpr double kEps = 1e-6, kAtol = 1e-5, kRtol = 1e-3;
  const Gradients all = gradients(f, inputs);
  const Tensor cotangent = randn(all.out.shape(), 99, all.out.dtype());
  const auto value = [&] {
    const NoGrad no_grad;
    return dot(f(inputs), cotangent);
  };
  Rng rng(7);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& x = inputs[i];
    if (!x.defined() || !is_float(x.dtype())) continue;
    BOOST_REQUIRE_MESSAGE(x.dtype() == DType::f64, what << ": gradcheck needs f64");
    const std::string name = what + ", input " + std::to_string(i);
    BOOST_REQUIRE_MESSAGE(all.grads[i].defined(), name << ": no gradient arrived");
    const auto analytic = to_vector<double>(all.grads[i]);
    for (int sample = 0; sample < samples && x.numel() > 0; ++sample) {
      const bool every = x.numel() <= samples;
      if (every && sample >= x.numel()) break;
      const auto index = every ? sample : static_cast<int64_t>(rng.below(static_cast<uint64_t>(x.numel())));
      double& moved = element(x, index);
      const double before = moved;
      moved = before + kEps;
      const double above = value();
      moved = before - kEps;
      const double below = value();
      moved = before;
      const double numeric = (above - below) / (2 * kEps), ours = analytic[static_cast<size_t>(index)];
      BOOST_CHECK_MESSAGE(std::abs(numeric - ours) <= kAtol + kRtol * std::abs(numeric),
                          name << ", element " << index << ": gradient " << ours << ", differences say " << numeric);
    }
    // This input alone: the backward must not depend on which other gradients were asked for.
    std::vector<Tensor> leaves;
    for (size_t j = 0; j < inputs.size(); ++j) leaves.push_back(leaf_of(inputs[j], j == i));
    backward(f(leaves), cotangent);
    BOOST_REQUIRE_MESSAGE(grad(leaves[i]).defined(), name << " alone: no gradient arrived");
    check_close(grad(leaves[i]), all.grads[i], 1e-12, name + " alone");
    for (size_t j = 0; j < leaves.size(); ++j)
      BOOST_CHECK_MESSAGE(j == i || !leaves[j].defined() || !grad(leaves[j]).defined(),
                          what << ": input " << j << " wants no gradient, but got one");
  }
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
  if (x.numel() < 16) return static_cast<uint64_t>(std::min<int64_t>(256, 32 * 16 / x.numel()));
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
