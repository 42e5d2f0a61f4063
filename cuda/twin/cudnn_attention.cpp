// Dense causal attention of the twin: the definition, in f32.

#include "cuda/cudnn_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cuda/twin/graph.h"

namespace ratel::cuda::cudnn {
namespace {

const bfloat16* row(const AttentionOperand& x, int64_t b, int64_t h, int64_t t) {
  return static_cast<const bfloat16*>(x.data) + b * x.batch + h * x.head + t * x.time;
}
bfloat16* row(const AttentionRows& x, int64_t b, int64_t h, int64_t t) {
  return static_cast<bfloat16*>(x.data) + b * x.batch + h * x.head + t * x.time;
}

float dot(const bfloat16* a, const bfloat16* b, int64_t d) {
  float sum = 0;
  for (int64_t c = 0; c < d; ++c) sum += static_cast<float>(a[c]) * static_cast<float>(b[c]);
  return sum;
}

void add_scaled(float factor, const bfloat16* x, float* sums, int64_t d) {
  for (int64_t c = 0; c < d; ++c) sums[c] += factor * static_cast<float>(x[c]);
}

void store(const float* sums, const AttentionRows& to, int64_t b, int64_t h, int64_t t, int64_t d) {
  for (int64_t c = 0; c < d; ++c) row(to, b, h, t)[c] = bfloat16(sums[c]);
}

float scale_of(int64_t d) { return 1 / std::sqrt(static_cast<float>(d)); }

void attend(const AttentionForwardArgs& args) {
  const int64_t H = args.shape.H, T = args.shape.T, d = args.shape.d;
  for (int64_t b = 0; b < args.shape.B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t i = 0; i < T; ++i) {
        std::vector<float> scores, out(static_cast<size_t>(d));
        for (int64_t j = 0; j <= i; ++j)
          scores.push_back(scale_of(d) * dot(row(args.q, b, h, i), row(args.k, b, h, j), d));
        const float most = *std::max_element(scores.begin(), scores.end());
        float total = 0;
        for (float& score : scores) total += score = std::exp(score - most);
        for (int64_t j = 0; j <= i; ++j)
          add_scaled(scores[static_cast<size_t>(j)] / total, row(args.v, b, h, j), out.data(), d);
        store(out.data(), args.out, b, h, i, d);
        static_cast<float*>(args.lse)[(b * H + h) * T + i] = most + std::log(total);
      }
}

void differentiate_head(const AttentionBackwardArgs& args, int64_t b, int64_t h) {
  const int64_t T = args.shape.T, d = args.shape.d;
  const float scale = scale_of(d), *lse = static_cast<const float*>(args.lse) + (b * args.shape.H + h) * T;
  std::vector<float> grad_k(static_cast<size_t>(T * d)), grad_v(static_cast<size_t>(T * d));
  for (int64_t i = 0; i < T; ++i) {
    const bfloat16 *q = row(args.q, b, h, i), *grad = row(args.grad_out, b, h, i);
    const float delta = dot(grad, row(args.out, b, h, i), d);
    std::vector<float> grad_q(static_cast<size_t>(d));
    for (int64_t j = 0; j <= i; ++j) {
      const bfloat16 *k = row(args.k, b, h, j), *v = row(args.v, b, h, j);
      const float p = std::exp(scale * dot(q, k, d) - lse[i]), ds = scale * p * (dot(grad, v, d) - delta);
      add_scaled(ds, k, grad_q.data(), d);
      add_scaled(ds, q, grad_k.data() + j * d, d);
      add_scaled(p, grad, grad_v.data() + j * d, d);
    }
    store(grad_q.data(), args.grad_q, b, h, i, d);
  }
  for (int64_t j = 0; j < T; ++j) {
    store(grad_k.data() + j * d, args.grad_k, b, h, j, d);
    store(grad_v.data() + j * d, args.grad_v, b, h, j, d);
  }
}

void differentiate(const AttentionBackwardArgs& args) {
  for (int64_t b = 0; b < args.shape.B; ++b)
    for (int64_t h = 0; h < args.shape.H; ++h) differentiate_head(args, b, h);
}

}  // namespace

bool forward(const AttentionForwardArgs& args, Stream) {
  twin::run_or_record([=] { attend(args); });
  return true;
}

bool backward(const AttentionBackwardArgs& args, Stream) {
  twin::run_or_record([=] { differentiate(args); });
  return true;
}

std::string refusal() { return {}; }

std::string library_version() { return "imitated"; }

}  // namespace ratel::cuda::cudnn
