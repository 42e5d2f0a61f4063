// The op against its reference, its gradients against central differences, and its errors.
#include "swiglu.h"

#include <algorithm>
#include <cmath>
#include <iostream>

#include "ops/create.h"
#include "ops/gradcheck.h"
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

}  // namespace

int main() {
  ratel::Rng rng(/*seed=*/1);
  const auto normal = [&](const ratel::Shape& shape) { return random_normal(shape, rng, 0, 1, ratel::DType::f64); };
  const Tensor gate = normal({3, 7}), up = normal({3, 7});

  report("equals its reference", largest_difference(swiglu(gate, up), custom::swiglu_reference(gate, up)), 1e-14);
  report("reads any layout",
         largest_difference(swiglu(transpose(gate, 0, 1), transpose(up, 0, 1)), transpose(swiglu(gate, up), 0, 1)), 0);
  try {
    ratel::gradcheck([](const std::vector<Tensor>& in) { return swiglu(in[0], in[1]); }, {gate, up},
                     {.atol = 1e-8, .rtol = 1e-8});
    report("gradients equal central differences", 0, 0);
  } catch (const ratel::Error& error) {
    std::cout << error.what() << '\n';
    report("gradients equal central differences", INFINITY, 0);
  }
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
