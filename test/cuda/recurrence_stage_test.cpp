#include "cuda/recurrent_attention_stages.h"

#include "ops/arithmetic.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/gated_recurrence.h"
#include "ops/rope.h"
#include "ops/unary.h"
#include "ops/view.h"
#include "test/support/compare.h"
#include "test/support/devices.h"
#include "test/support/gradcheck.h"

using ratel::Device;
using ratel::DType;
using ratel::Rotation;
using ratel::Tensor;
namespace cuda = ratel::cuda;
namespace test = ratel::test;

namespace {

constexpr double kBase = 10000;

struct Case {
  const char* path;
  int64_t B, T, H, d;
};

// A block has 32 pairs of channels; tiles are of 16 tokens in bf16, 8 in f32, 4 in f64, five of them at a time; time
// is cut into segments of 128 tokens or more.
const Case kCases[] = {
    {"one token, one pair", 1, 1, 1, 2},
    {"one short of a tile, an element at a time", 2, 15, 1, 6},
    {"one past a tile, 16 bytes at a time", 2, 17, 3, 16},
    {"more tiles than stages, three blocks, the last ragged", 1, 90, 9, 16},
    {"heads wider than a block", 1, 20, 1, 144},
    {"three segments, ragged", 1, 389, 1, 4},
};

/// (B, T, 5C) to (B, T, 2C): rotated keys and values.
Tensor reference(const Tensor& projection, int64_t heads) {
  const int64_t B = projection.dim(0), T = projection.dim(1), C = projection.dim(2) / 5, d = C / heads;
  const auto parts = split(projection, 2, 5);
  const Tensor gate = sigmoid(parts[4]), k = gated_recurrence_reference(gate, parts[2]).h;
  const Tensor turned = rope_reference(transpose(reshape(k, {B, T, heads, d}), 1, 2), 0, kBase);
  return ratel::concat({reshape(transpose(turned, 1, 2), {B, T, C}), gated_recurrence_reference(gate, parts[3]).h}, 2);
}

struct Results {
  Tensor out, grad;  // (B, T, 2C) and (B, T, 5C), on the CPU
};

Results stage(const Tensor& projection, const Tensor& cotangent, int64_t heads, Device gpu) {
  const int64_t B = projection.dim(0), T = projection.dim(1), C = projection.dim(2) / 5;
  const DType dtype = projection.dtype();
  const auto stream = ratel::current_stream(gpu);
  const Tensor x = moved_to(projection, gpu);
  const cuda::RopeTable table(dtype, 0, T, C / heads, kBase, stream);
  const cuda::Scratch<unsigned char> carries(static_cast<int64_t>(cuda::recurrence_carries(B, T, C, dtype)), stream);
  const Tensor keys = ratel::empty({B, T, C}, dtype, gpu), values = ratel::empty({B, T, C}, dtype, gpu);
  cuda::recurrence_stage_forward(
      {B, T, C, heads, dtype, x.data(), table.data(), keys.data(), values.data(), carries.get()}, stream);
  const auto grads = split(cotangent, 2, 2);
  const Tensor grad_keys = moved_to(contiguous(grads[0]), gpu), grad_values = moved_to(contiguous(grads[1]), gpu);
  const Tensor grad = ratel::zeros(x.shape(), dtype, gpu);
  cuda::recurrence_stage_backward(
      {B, T, C, heads, dtype, x.data(), table.data(), carries.get(), grad_keys.data(), grad_values.data(), grad.data()},
      stream);
  // Without carries the forward stage gives the same.
  const Tensor again = ratel::empty({B, T, C}, dtype, gpu);
  cuda::recurrence_stage_forward({B, T, C, heads, dtype, x.data(), table.data(), again.data(), values.data(), nullptr},
                                 stream);
  test::check_identical(again, keys, "keys without carries");
  return {ratel::concat({moved_to(keys, ratel::kCpu), moved_to(values, ratel::kCpu)}, 2), moved_to(grad, ratel::kCpu)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(equals_the_composed_version_on_every_path) {
  test::on_gpus([](Device gpu) {
    for (const Case& c : kCases) {
      const int64_t C = c.H * c.d;
      const auto composed = [&](const std::vector<Tensor>& x) { return reference(x[0], c.H); };
      const Tensor x = test::randn({c.B, c.T, 5 * C}, 1), cotangent = test::randn({c.B, c.T, 2 * C}, 2);
      const auto exact = test::gradients(composed, {x}, cotangent);
      const auto ours = stage(x, cotangent, c.H, gpu);
      test::check_close(ours.out, exact.out, 1e-12, c.path);
      test::check_close(ours.grad, exact.grads[0], 1e-12, std::string(c.path) + " gradient");
      for (const DType dtype : {DType::f32, DType::bf16}) {
        const Tensor low = to(x, dtype), low_cotangent = to(cotangent, dtype);
        const auto oracle = test::gradients(composed, {to(low, DType::f64)}, to(low_cotangent, DType::f64));
        const auto plain = test::gradients(composed, {low}, low_cotangent);
        const auto fast = stage(low, low_cotangent, c.H, gpu);
        const std::string name = ratel::concat_text(c.path, ' ', dtype);
        test::RoundingErrors out, grad;
        out.add(fast.out, plain.out, oracle.out);
        grad.add(to(fast.grad, plain.grads[0].dtype()), plain.grads[0], oracle.grads[0], dtype);
        out.check(name);
        grad.check(name + " gradient");
      }
    }
  });
}

BOOST_AUTO_TEST_CASE(heads_rotate_in_place_within_wider_rows) {
  test::on_gpus([](Device gpu) {
    for (const int64_t d : {6, 32}) {
      const int64_t B = 2, T = 9, H = 3, C = H * d;
      const Tensor rows = test::randn({B, T, 5 * C}, 3, DType::f32), x = moved_to(rows, gpu);
      const auto stream = ratel::current_stream(gpu);
      const cuda::RopeTable table(DType::f32, 0, T, d, kBase, stream);
      const auto rotate = [&](Rotation rotation) {
        auto* const queries = static_cast<float*>(x.data()) + C;
        cuda::rotate_heads(
            {B, T, H, d, DType::f32, table.data(), queries, T * 5 * C, 5 * C, queries, T * 5 * C, 5 * C, rotation},
            stream);
        return moved_to(x, ratel::kCpu);
      };
      const Tensor q = reshape(contiguous(split(rows, 2, 5)[1]), {B, T, H, d});
      const Tensor turned = reshape(contiguous(transpose(rope(transpose(q, 1, 2), 0, kBase), 1, 2)), {B, T, C});
      const Tensor expected = ratel::concat({slice(rows, 2, 0, C), turned, slice(rows, 2, 2 * C, 5 * C)}, 2);
      test::check_close(rotate(Rotation::forward), expected, 1e-6, "forward");
      test::check_close(rotate(Rotation::backward), rows, 1e-6, "and back");
    }
  });
}
