// Shapes are [batch x] M x N x K. 2 M N K FLOPs; bytes of a, b and c once each, of a c in f32 that is added to twice.

#include "ops/matmul.h"

#include "bench/support/passes.h"
#include "ops/copy.h"

namespace ratel::bench {
namespace {

struct Variant {
  const char* name;
  Tensor (*op)(const Tensor&, const Tensor&);
  bool ta, tb;
};
constexpr Variant kNN{"matmul", matmul, false, false}, kNT{"matmul_nt", matmul_nt, false, true},
    kTN{"matmul_tn", matmul_tn, true, false};

void add_product(const Variant& v, int64_t M, int64_t N, int64_t K, int64_t batch = 0, DType dtype = bench::dtype()) {
  const auto sized = [&](int64_t rows, int64_t columns) {
    return batch > 0 ? Shape{batch, rows, columns} : Shape{rows, columns};
  };
  const Shape a = v.ta ? sized(K, M) : sized(M, K), b = v.tb ? sized(N, K) : sized(K, N);
  const auto count = static_cast<double>(std::max<int64_t>(1, batch));
  const double flops = 2 * count * static_cast<double>(M * N * K);
  const double bytes = count * static_cast<double>(size_of(dtype)) * static_cast<double>(M * K + K * N + M * N);
  const std::string shape = text_of(batch > 0 ? Shape{batch, M, N, K} : Shape{M, N, K});
  const std::string suffix = dtype == bench::dtype() ? "" : "/" + std::string(ratel::name_of(dtype));
  add(concat_text(v.name, "/forward/", shape, suffix), {.bytes = bytes, .flops = flops}, [=] {
    const Tensor x = to(normals(a), dtype), y = to(normals(b), dtype);
    return [=] { v.op(x, y); };
  });
}

/// A weight's gradient that is added to the sum of earlier ones, in f32 where the operands are bf16.
void add_weight_gradient(int64_t M, int64_t N, int64_t K, DType dtype = bench::dtype()) {
  const double flops = 2 * static_cast<double>(M * N * K);
  const double bytes = static_cast<double>(size_of(dtype)) * static_cast<double>(K * (M + N)) +
                       2 * static_cast<double>(size_of(accumulate_dtype(dtype))) * static_cast<double>(M * N);
  const std::string suffix = dtype == bench::dtype() ? "" : "/" + std::string(ratel::name_of(dtype));
  add(concat_text("add_matmul_tn_into/forward/", text_of({M, N, K}), suffix), {.bytes = bytes, .flops = flops}, [=] {
    const Tensor grad = to(normals({K, M}), dtype), x = to(normals({K, N}), dtype),
                 sum = zeros({M, N}, accumulate_dtype(dtype), device());
    return [=] { add_matmul_tn_into(sum, grad, x); };
  });
}

}  // namespace

void declare() {
  if (on_gpu()) {
    // in_proj, fc1, fc2 and out_proj of a layer of 2048 channels on 8 x 4096 tokens, forward and both gradients.
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{10240, 2048}, {8192, 2048}, {2048, 8192}, {2048, 2048}}) {
      add_product(kNT, 32768, out, in);
      add_product(kNN, 32768, in, out);
      add_product(kTN, out, in, 32768);
      add_weight_gradient(out, in, 32768);
    }
    return;
  }
  // The linear layers of a small model on 8 x 256 tokens, forward, then the gradients of their inputs and weights.
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{640, 128}, {512, 128}, {128, 512}, {257, 128}}) {
    add_product(kNT, 2048, out, in);
    add_product(kNN, 2048, in, out);
    add_product(kTN, out, in, 2048);
  }
  for (const auto& [M, N, K] : {std::array<int64_t, 3>{1024, 1024, 1024}, {4096, 2048, 2048}})
    for (const Variant& v : {kNT, kNN, kTN}) add_product(v, M, N, K);
  // One token and eight at a time: bound by reading the weights.
  add_product(kNT, 1, 2048, 2048);
  add_product(kNT, 8, 2048, 2048);
  add_product(kNN, 64, 128, 128, 64);
  add_product(kNT, 1024, 1024, 1024, 0, DType::bf16);
  add_product(kNT, 2048, 640, 128, 0, DType::bf16);
  add_product(kTN, 640, 128, 2048, 0, DType::bf16);
  for (const DType dtype : {DType::f32, DType::bf16}) add_weight_gradient(640, 128, 2048, dtype);
}

}  // namespace ratel::bench
