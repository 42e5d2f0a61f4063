#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/gradient.h"
#include "autograd/node.h"
#include "bench/support/bench.h"
#include "core/tensor.h"
#include "ops/backward.h"
#include "ops/create.h"

namespace ratel::bench {

/// What is timed: a function of activations, which earlier ops made, and of weights, which are leaves behind them.
struct Subject {
  std::vector<Tensor> activations, weights;
  std::function<Tensor(const std::vector<Tensor>&)> call;
};

/// x as if an op had made it: backward leaves its gradient as it comes, where that of a leaf in bf16 would be summed in
/// f32. For one backward.
inline Tensor made_by_an_op(const Tensor& x) {
  const Tensor leaf = requires_grad(empty({0}, x.dtype(), x.device()));
  return record(detach(x), "source", {leaf}, [](const Tensor&, const Needs&) { return Grads{Tensor()}; });
}

inline std::string text_of(const Shape& shape) {
  std::string text;
  for (const int64_t size : shape) {
    if (!text.empty()) text += 'x';
    text += std::to_string(size);
  }
  return text;
}

/// Declares OP/forward/SHAPE and OP/forward_backward/SHAPE; the second pass does the work of both.
inline void add_passes(const std::string& op, const Shape& shape, const Work& forward, const Work& backward_alone,
                       const std::function<Subject()>& prepare) {
  add(op + '/' + name_of(Pass::forward) + '/' + text_of(shape), forward, [=] {
    const Subject subject = prepare();
    std::vector<Tensor> inputs = subject.activations;
    inputs.insert(inputs.end(), subject.weights.begin(), subject.weights.end());
    return [=] { subject.call(inputs); };
  });
  const Work both{forward.bytes + backward_alone.bytes, forward.flops + backward_alone.flops};
  add(op + '/' + name_of(Pass::forward_backward) + '/' + text_of(shape), both, [=] {
    const Subject subject = prepare();
    Rng rng(99);
    for (const Tensor& weight : subject.weights) requires_grad(weight);
    const auto run = [subject] {
      std::vector<Tensor> inputs;
      for (const Tensor& x : subject.activations) inputs.push_back(made_by_an_op(x));
      inputs.insert(inputs.end(), subject.weights.begin(), subject.weights.end());
      return subject.call(inputs);
    };
    const Tensor out = run();
    const Tensor grad = random_normal(out.shape(), rng, 0, 1, out.dtype(), device());
    return [=] {
      backward(run(), grad);
      for (const Tensor& weight : subject.weights) zero_grad(weight);
    };
  });
}

/// Normals of that shape from a seed, where and in what the benchmarks compute.
inline Tensor normals(const Shape& shape, uint64_t seed = 1) {
  Rng rng(seed);
  return random_normal(shape, rng, 0, 1, dtype(), device());
}

}  // namespace ratel::bench
