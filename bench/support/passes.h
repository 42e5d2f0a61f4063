#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/gradient.h"
#include "bench/support/bench.h"
#include "core/tensor.h"
#include "ops/backward.h"
#include "ops/create.h"

namespace ratel::bench {

/// What is timed: a function of leaves.
struct Subject {
  std::vector<Tensor> leaves;
  std::function<Tensor(const std::vector<Tensor>&)> call;
};

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
    return [=] { subject.call(subject.leaves); };
  });
  const Work both{forward.bytes + backward_alone.bytes, forward.flops + backward_alone.flops};
  add(op + '/' + name_of(Pass::forward_backward) + '/' + text_of(shape), both, [=] {
    const Subject subject = prepare();
    Rng rng(99);
    const Tensor out = subject.call(subject.leaves);
    const Tensor grad = random_normal(out.shape(), rng, 0, 1, out.dtype(), device());
    for (const Tensor& leaf : subject.leaves) requires_grad(leaf);
    return [=] {
      backward(subject.call(subject.leaves), grad);
      for (const Tensor& leaf : subject.leaves) zero_grad(leaf);
    };
  });
}

/// Normals of that shape from a seed, where and in what the benchmarks compute.
inline Tensor normals(const Shape& shape, uint64_t seed = 1) {
  Rng rng(seed);
  return random_normal(shape, rng, 0, 1, dtype(), device());
}

}  // namespace ratel::bench
