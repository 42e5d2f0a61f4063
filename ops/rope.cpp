#include "ops/rope.h"

#include <cmath>

#include "autograd/node.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/view.h"

namespace ratel {
namespace {

void check_arguments(const Tensor& x) {
  check(is_float(x.dtype()), "rope: expected a float dtype, found ", x.dtype());
  check(x.rank() >= 2 && x.dim(-1) % 2 == 0, "rope: expected (..., T, d) with an even d, found shape ", x.shape());
}

void run(const RopeArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::rope(args, current_stream(device));
  cpu::rope(args);
}

Tensor rotated(const Tensor& x, int64_t position, double base, Rotation rotation) {
  const Tensor in = contiguous(detach(x));
  Tensor out = empty_like(in);
  const int64_t T = x.dim(-2), d = x.dim(-1);
  if (out.numel() > 0)
    run({x.numel() / (T * d), T, d, x.dtype(), in.data(), out.data(), position, base, rotation}, x.device());
  return out;
}

}  // namespace

Tensor rope(const Tensor& x, int64_t position, double base) {
  const OpScope scope("rope");
  check_arguments(x);
  return record(rotated(x, position, base, Rotation::forward), "rope", {x},
                [position, base](const Tensor& grad, const Needs&) -> Grads {
                  return {rotated(grad, position, base, Rotation::backward)};
                });
}

Tensor rope_reference(const Tensor& x, int64_t position, double base) {
  check_arguments(x);
  const int64_t T = x.dim(-2), d = x.dim(-1), half = d / 2;
  std::vector<double> cosines, sines;
  for (int64_t t = 0; t < T; ++t)
    for (int64_t c = 0; c < half; ++c) {
      const double angle =
          static_cast<double>(position + t) * std::pow(base, -static_cast<double>(2 * c) / static_cast<double>(d));
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
  const Tensor cosine = from_vector(cosines, {T, half}, x.dtype(), x.device());
  const Tensor sine = from_vector(sines, {T, half}, x.dtype(), x.device());
  const Tensor left = slice(x, -1, 0, half), right = slice(x, -1, half, d);
  return concat({left * cosine - right * sine, right * cosine + left * sine}, -1);
}

}  // namespace ratel
