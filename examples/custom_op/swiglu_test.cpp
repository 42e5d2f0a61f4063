// The op against its reference, its gradients against central differences, and its errors.
#include "swiglu.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iostream>

#include "autograd/grad_mode.h"
#include "ops/arithmetic.h"
#include "ops/backward.h"
#include "ops/create.h"
#include "ops/reduce.h"
#include "ops/view.h"

namespace {

using custom::swiglu;
using ratel::Tensor;

int failures = 0;

void report(const char* what, double error, double tolerance) {
  const bool passed = error <= tolerance;  // false for NaN
  failures += passed ? 0 : 1;
  std::cout << (passed ? "ok      " : "FAILED  ") << what << ": " << error << '\n';
}

double largest_difference(const Tensor& a, const Tensor& b) {
  const auto x = ratel::to_vector<double>(a), y = ratel::to_vector<double>(b);
  double largest = x.size() == y.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) largest = std::max(largest, std::abs(x[i] - y[i]));
  return largest;
}

/// d f / d input by central differences, one element after the other; f returns one number.
Tensor numeric_gradient(const std::function<Tensor()>& f, const Tensor& input) {
  const ratel::NoGrad no_grad;
  constexpr double kStep = 1e-6;
  Tensor result = empty_like(input);
  for (int64_t i = 0; i < input.numel(); ++i) {
    double& element = input.data<double>()[i];
    const double at = element;
    element = at + kStep;
    const double above = f().item();
    element = at - kStep;
    const double below = f().item();
    element = at;
    result.data<double>()[i] = (above - below) / (2 * kStep);
  }
  return result;
}

}  // namespace

int main() {
  ratel::Rng rng(/*seed=*/1);
  const auto normal = [&](const ratel::Shape& shape) { return random_normal(shape, rng, 0, 1, ratel::DType::f64); };
  const Tensor gate = requires_grad(normal({3, 7})), up = requires_grad(normal({3, 7}));
  const Tensor cotangent = normal({3, 7});  // random, so that no error cancels in the sum
  const auto f = [&] { return sum(swiglu(gate, up) * cotangent); };

  report("equals its reference", largest_difference(swiglu(gate, up), custom::swiglu_reference(gate, up)), 1e-14);
  report("reads any layout",
         largest_difference(swiglu(transpose(gate, 0, 1), transpose(up, 0, 1)), transpose(swiglu(gate, up), 0, 1)), 0);
  backward(f());
  report("gradient of gate", largest_difference(grad(gate), numeric_gradient(f, gate)), 1e-8);
  report("gradient of up", largest_difference(grad(up), numeric_gradient(f, up)), 1e-8);
  try {
    swiglu(gate, transpose(up, 0, 1));
    report("refuses two shapes", INFINITY, 0);
  } catch (const ratel::Error& error) {
    std::cout << "ok      refuses two shapes: " << error.what() << '\n';
  }
  if (ratel::cuda_device_count() > 0) try {
      const Tensor there = ratel::ones({2}, ratel::DType::f64, {ratel::DeviceType::cuda, 0});
      swiglu(there, there);
      report("refuses a GPU", INFINITY, 0);
    } catch (const ratel::Error& error) {
      std::cout << "ok      refuses a GPU: " << error.what() << '\n';
    }
  return failures == 0 ? 0 : 1;
}
