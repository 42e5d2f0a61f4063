#include "ops/block_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "autograd/grad_mode.h"
#include "autograd/gradient.h"
#include "core/op_scope.h"
#include "ops/arithmetic.h"
#include "ops/concat.h"
#include "ops/copy.h"
#include "ops/create.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/unary.h"
#include "ops/view.h"

namespace ratel {
namespace {

constexpr const char* kName = "block_attention";

void check_arguments(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns) {
  check_attention_operands(q, k, v, patterns, kName);
  check(q.dim(3) <= 1024, kName, ": expected at most 1024 channels, found shape ", q.shape());
  for (const Tensor& x : {q, k, v}) check_wants_no_gradient(x, kName);
}

void run(const BlockAttentionArgs& args, Device device) {
  if constexpr (kHasCuda)
    if (device.is_cuda()) return cuda::block_attention(args, current_stream(device));
  cpu::block_attention(args);
}

/// The patterns that admit the same of T keys, with no block size or count far above T.
HeadPatterns within(HeadPatterns patterns, int64_t T) {
  for (Pattern& p : patterns)
    if (p.top_blocks > 0) p.dilation = std::min(p.dilation, T), p.top_blocks = std::min(p.top_blocks, T + 2);
  return patterns;
}

}  // namespace

void check_wants_no_gradient(const Tensor& x, const char* op) {
  check(!grad_enabled() || !needs_grad(x), op,
        ": attention over top-k blocks has no gradient\nhint: evaluate under NoGrad, and train through a dilated "
        "pattern");
}

Tensor block_attention(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns) {
  const OpScope scope(kName);
  check_arguments(q, k, v, patterns);
  const HeadPatterns per_head = within(one_a_head(patterns, q.dim(1)), q.dim(2));
  Tensor out = empty(q.shape(), q.dtype(), q.device());
  run({q.dim(0), q.dim(1), q.dim(2), q.dim(3), q.dtype(), attention_operand(q), attention_operand(k),
       attention_operand(v), per_head.data(), out.data()},
      q.device());
  return out;
}

namespace {

/// (B, T, complete blocks): how each query of a head scores each block. q and k (B, T, d) are of the type to sum in.
Tensor block_scores(const Tensor& q, const Tensor& k, const Pattern& pattern) {
  const int64_t B = k.dim(0), D = pattern.dilation, blocks = k.dim(1) / D, d = k.dim(2);
  const Tensor keys = reshape(slice(k, 1, 0, blocks * D), {B, blocks, D, d});
  switch (pattern.score) {
    case BlockScore::last: return matmul_nt(q, reshape(slice(keys, 2, D - 1, D), {B, blocks, d}));
    // Sums order the blocks as means do: all are of one size.
    case BlockScore::mean: return matmul_nt(q, sum(keys, {2}));
    // max(q min, q max) is q max where q is positive, and q min where it is negative.
    case BlockScore::minmax: return matmul_nt(relu(q), max(keys, {2})) + matmul_nt(relu(-q), max(-keys, {2}));
  }
  return {};
}

/// For query i, whether it sees each of the blocks up to its own.
std::vector<bool> seen_blocks(const double* scores, int64_t own, int64_t top_blocks) {
  std::vector<bool> seen(static_cast<size_t>(own) + 1, false);
  seen.front() = seen.back() = true;
  std::vector<size_t> others(static_cast<size_t>(std::max<int64_t>(0, own - 1)));
  std::iota(others.begin(), others.end(), size_t{1});
  std::stable_sort(others.begin(), others.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  others.resize(std::min(others.size(), static_cast<size_t>(top_blocks - 2)));
  for (const size_t block : others) seen[block] = true;
  return seen;
}

/// (B, T, T): 0 where a query of this head sees a key, -inf elsewhere.
Tensor mask_of(const Tensor& q, const Tensor& k, const Pattern& pattern) {
  const int64_t B = q.dim(0), T = q.dim(1), D = pattern.dilation;
  const DType exact = accumulate_dtype(q.dtype());
  const bool selects = pattern.top_blocks > 0 && T >= D;
  const auto scores =
      selects ? to_vector<double>(block_scores(to(q, exact), to(k, exact), pattern)) : std::vector<double>();
  std::vector<double> values;
  for (int64_t row = 0; row < B * T; ++row) {
    const int64_t i = row % T;
    const auto seen = pattern.top_blocks > 0
                          ? seen_blocks(scores.data() + (selects ? row * (T / D) : 0), i / D, pattern.top_blocks)
                          : std::vector<bool>();
    for (int64_t j = 0; j < T; ++j) {
      const bool sees_key = pattern.top_blocks > 0 ? j <= i && seen[static_cast<size_t>(j / D)] : sees(pattern, i, j);
      values.push_back(sees_key ? 0 : -std::numeric_limits<double>::infinity());
    }
  }
  return from_vector(values, {B, T, T}, q.dtype());
}

}  // namespace

Tensor block_attention_reference(const Tensor& q, const Tensor& k, const Tensor& v, const HeadPatterns& patterns) {
  check_arguments(q, k, v, patterns);
  const int64_t H = q.dim(1);
  const HeadPatterns per_head = one_a_head(patterns, H);
  const auto head = [&](const Tensor& x, int64_t h) {
    return reshape(slice(x, 1, h, h + 1), {x.dim(0), x.dim(2), x.dim(3)});
  };
  std::vector<Tensor> masks;
  for (int64_t h = 0; h < H; ++h) masks.push_back(mask_of(head(q, h), head(k, h), per_head[static_cast<size_t>(h)]));
  const Tensor scores = matmul_nt(q, k) * (1 / std::sqrt(static_cast<double>(q.dim(3)))) + stack(masks, 1);
  return matmul(softmax_reference(scores), v);
}

}  // namespace ratel
